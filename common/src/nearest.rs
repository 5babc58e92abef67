//! The name that was probably meant, for every message that refuses an unknown one.

/// The known name that is nearest to `name`, if one is near enough to be a slip of the pen: at most a third of it
/// (one letter in a short name) added, dropped, replaced or swapped with its neighbour. Case does not count.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What follows the refusal of an unknown name: `; did you mean …`, or the known names, or nothing.
pub fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(name, known.clone()) {
        return format!("; did you mean `{near}`?");
    }
    let known: Vec<&str> = known.into_iter().collect();
    if known.is_empty() { String::new() } else { format!("; known: {}", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_does_not() {
        let known = ["flush_ms", "flush_bytes", "folder"];
        assert_eq!(nearest("flsuh_ms", known), Some("flush_ms"));
        assert_eq!(nearest("Folder", known), Some("folder"));
        assert_eq!(nearest("retention", known), None);
        assert_eq!(hint("foldr", known), "; did you mean `folder`?");
        assert_eq!(hint("retention", known), "; known: flush_ms, flush_bytes, folder");
    }
}
