//! Prometheus's text format, read as strictly as its own parser and linter do: names, kinds before samples, no series
//! twice, counters by their suffix, buckets that rise and end at `+Inf`.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: Option<String>,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    /// What follows the family's name: `_sum`, `_count`, `_bucket` of a histogram.
    suffix: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Family {
    /// The values of the series that have these labels among theirs.
    pub fn values(&self, labels: &[(&str, &str)]) -> Vec<f64> {
        self.with("", labels)
    }

    /// How often a histogram with these labels was told something, over all of its series.
    pub fn count(&self, labels: &[(&str, &str)]) -> f64 {
        self.with("_count", labels).iter().sum()
    }

    /// The upper bounds of a histogram's buckets, the infinite one left out.
    pub fn bounds(&self) -> Vec<f64> {
        let bounds = self.samples.iter().filter_map(|sample| number(sample.labels.get("le")?).ok());
        let mut bounds: Vec<f64> = bounds.filter(|bound| bound.is_finite()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds
    }

    fn with(&self, suffix: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let fits = |sample: &&Sample| {
            sample.suffix == suffix
                && labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|held| held == value))
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).collect()
    }

    /// Every label's name, but for a bucket's bound.
    pub fn labels(&self) -> BTreeSet<&str> {
        self.samples
            .iter()
            .flat_map(|sample| sample.labels.keys())
            .map(String::as_str)
            .filter(|name| *name != "le")
            .collect()
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let fault = |what: &str| Err(format!("{name} {what}"));
        if self.samples.is_empty() {
            return fault("has no sample");
        }
        if self.help.as_deref().is_none_or(str::is_empty) {
            return fault("has no help text");
        }
        if name.ends_with("_total") != (self.kind == "counter") {
            return fault("is a counter, or is named like one, and not both");
        }
        let mut series = BTreeSet::new();
        for Sample { suffix, labels, value } in &self.samples {
            if !series.insert((suffix, labels)) {
                return fault("has a series twice");
            }
            if self.kind == "counter" && !(value.is_finite() && *value >= 0.0) {
                return fault("counts to what is no count");
            }
        }
        if self.kind == "histogram" { self.check_buckets(name) } else { Ok(()) }
    }

    fn check_buckets(&self, name: &str) -> Result<(), String> {
        let mut buckets: BTreeMap<BTreeMap<&str, &str>, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.suffix == "_bucket") {
            let bound = sample.labels.get("le").ok_or(format!("{name} has a bucket without a bound"))?;
            let rest = sample.labels.iter().filter(|(name, _)| *name != "le");
            let rest = rest.map(|(name, value)| (name.as_str(), value.as_str())).collect();
            buckets.entry(rest).or_default().push((number(bound)?, sample.value));
        }
        for (labels, held) in buckets {
            let rises = held.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            let labels: Vec<(&str, &str)> = labels.into_iter().collect();
            let all = self.count(&labels);
            if !rises || held.last().is_none_or(|last| *last != (f64::INFINITY, all)) {
                return Err(format!("{name} has buckets that do not rise to all of its {all} counts"));
            }
        }
        Ok(())
    }
}

/// Every family by its name, or what breaks the format.
pub fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let (what, rest) = comment.split_once(' ').ok_or(format!("a comment that says nothing: {line}"))?;
            let (name, value) = rest.split_once(' ').ok_or(format!("nothing is said of a name: {line}"))?;
            check_name(name)?;
            let family = families.entry(name.to_owned()).or_default();
            match what {
                "HELP" if family.help.is_none() => family.help = Some(value.to_owned()),
                "TYPE" if family.kind.is_empty() && family.samples.is_empty() => family.kind = value.to_owned(),
                _ => return Err(format!("said twice, or after its samples: {line}")),
            }
            current = name.to_owned();
            continue;
        }
        let sample = sample(line, &current)?;
        let family = families.get_mut(&current).filter(|family| !family.kind.is_empty());
        family.ok_or(format!("a sample before its kind: {line}"))?.samples.push(sample);
    }
    families.iter().try_for_each(|(name, family)| family.check(name))?;
    Ok(families)
}

fn sample(line: &str, family: &str) -> Result<Sample, String> {
    let fault = |what: &str| format!("{what}: {line}");
    let end = line.find(['{', ' ']).ok_or(fault("no value"))?;
    let name = &line[..end];
    check_name(name)?;
    let suffix = name.strip_prefix(family).ok_or(fault("a sample of another family"))?;
    if !["", "_sum", "_count", "_bucket"].contains(&suffix) {
        return Err(fault("a sample of another family"));
    }
    let (labels, value) = match line[end..].strip_prefix('{') {
        None => (BTreeMap::new(), &line[end..]),
        Some(rest) => labels(rest).ok_or(fault("labels that are none"))?,
    };
    Ok(Sample { suffix: suffix.to_owned(), labels, value: number(value.trim())? })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        check_name(name).ok()?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, character) in quoted.char_indices() {
            match (escaped, character) {
                (false, '"') => {
                    end = Some(at + 1);
                    break;
                }
                (false, '\\') => escaped = true,
                (true, 'n') => (value.push('\n'), escaped = false).1,
                (_, other) => (value.push(other), escaped = false).1,
            }
        }
        rest = &quoted[end?..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
        labels.insert(name.to_owned(), value).is_none().then_some(())?;
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = name.chars().all(legal) && name.starts_with(|c: char| !c.is_ascii_digit());
    if good { Ok(()) } else { Err(format!("{name:?} is no name")) }
}

fn number(text: &str) -> Result<f64, String> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        text => text.parse().map_err(|_| format!("{text:?} is no number")),
    }
}

#[test]
fn what_breaks_the_format_is_told() {
    let family = |samples: &str| format!("# HELP a_total Of `b`.\n# TYPE a_total counter\n{samples}");
    let read = parse(&family("a_total{b=\"x\\\"y\"} 3\na_total{b=\"z\"} 4\n")).unwrap();
    assert_eq!(read["a_total"].values(&[("b", "x\"y")]), [3.0]);
    for broken in [
        "a_total{b=\"x\"} 1\na_total{b=\"x\"} 1\n",
        "a_total{b=\"x\"} -1\n",
        "a_total{b=x} 1\n",
        "b_total 1\n",
        "a_total one\n",
        "a_total 1",
        "",
    ] {
        parse(&family(broken)).expect_err(broken);
    }
    parse("# TYPE a_total counter\na_total 1\n").expect_err("no help");
    parse("# HELP a A.\n# TYPE a counter\na 1\n").expect_err("a counter without its suffix");
    let histogram = |buckets: &str| format!("# HELP h H.\n# TYPE h histogram\n{buckets}h_sum 3\nh_count 2\n");
    parse(&histogram("h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n")).unwrap();
    parse(&histogram("h_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\n")).expect_err("buckets that fall");
    parse(&histogram("h_bucket{le=\"1\"} 1\n")).expect_err("no last bucket");
}
