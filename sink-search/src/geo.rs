//! Distances on the earth, taken as a sphere of the mean radius, as OpenSearch takes it.

use serde::{Deserialize, Serialize};

const EARTH_RADIUS_METRES: f64 = 6_371_008.771_4;

/// Degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPoint {
    pub lat: f64,
    pub lon: f64,
}

impl GeoPoint {
    /// `None` outside of ±90 and ±180 degrees.
    pub fn new(lat: f64, lon: f64) -> Option<GeoPoint> {
        (lat.abs() <= 90.0 && lon.abs() <= 180.0).then_some(GeoPoint { lat, lon })
    }

    /// Metres along the great circle (haversine).
    pub fn distance(self, other: GeoPoint) -> f64 {
        let (from, to) = (self.lat.to_radians(), other.lat.to_radians());
        let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let chord = half(other.lat - self.lat) + from.cos() * to.cos() * half(other.lon - self.lon);
        2.0 * EARTH_RADIUS_METRES * chord.sqrt().min(1.0).asin()
    }

    /// A box that holds every point within `metres`: the latitudes, and the longitudes where they are bounded, as one
    /// range or, across the date line, two.
    pub fn bounding(self, metres: f64) -> GeoBox {
        // A little wider than the circle, so that rounding never cuts a point off.
        let angle = (metres / EARTH_RADIUS_METRES) * (1.0 + 1e-9) + 1e-9;
        let reach = angle.to_degrees();
        let lat = ((self.lat - reach).max(-90.0), (self.lat + reach).min(90.0));
        let holds_a_pole = self.lat + reach >= 90.0 || self.lat - reach <= -90.0;
        if holds_a_pole {
            return GeoBox { lat, lon: vec![] };
        }
        let width = (angle.sin() / self.lat.to_radians().cos()).min(1.0).asin().to_degrees() + 1e-9;
        let (west, east) = (self.lon - width, self.lon + width);
        let lon = match (west < -180.0, east > 180.0) {
            (true, true) => vec![],
            (true, false) => vec![(-180.0, east), (west + 360.0, 180.0)],
            (false, true) => vec![(west, 180.0), (-180.0, east - 360.0)],
            (false, false) => vec![(west, east)],
        };
        GeoBox { lat, lon }
    }
}

/// Degrees; `lon` empty where every longitude is inside.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoBox {
    pub lat: (f64, f64),
    pub lon: Vec<(f64, f64)>,
}

impl GeoBox {
    pub fn holds(&self, point: GeoPoint) -> bool {
        let inside = |(low, high): (f64, f64), degree: f64| low <= degree && degree <= high;
        inside(self.lat, point.lat) && (self.lon.is_empty() || self.lon.iter().any(|range| inside(*range, point.lon)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(lat: f64, lon: f64) -> GeoPoint {
        GeoPoint::new(lat, lon).unwrap()
    }

    #[test]
    fn known_distances_come_out_to_a_thousandth() {
        let (jfk, lhr) = (at(40.639_801, -73.778_9), at(51.470_6, -0.461_941));
        assert!((jfk.distance(lhr) / 5_540_000.0 - 1.0).abs() < 0.001, "{}", jfk.distance(lhr));
        assert_eq!(jfk.distance(jfk), 0.0);
        let half_around = at(0.0, 0.0).distance(at(0.0, 180.0));
        assert!((half_around - std::f64::consts::PI * EARTH_RADIUS_METRES).abs() < 1.0);
    }

    proptest! {
        #[test]
        fn the_box_never_cuts_off_a_point_within_the_distance(
            lat in -90.0..=90.0_f64, lon in -180.0..=180.0_f64,
            other_lat in -90.0..=90.0_f64, other_lon in -180.0..=180.0_f64,
        ) {
            let (centre, other) = (at(lat, lon), at(other_lat, other_lon));
            prop_assert!(centre.bounding(centre.distance(other)).holds(other));
        }

        #[test]
        fn nor_a_near_one(lat in -90.0..=90.0_f64, lon in -180.0..=180.0_f64, north in -0.01..0.01_f64, east in -0.01..0.01_f64) {
            let centre = at(lat, lon);
            let other = at((lat + north).clamp(-90.0, 90.0), (lon + east + 540.0).rem_euclid(360.0) - 180.0);
            prop_assert!(centre.bounding(centre.distance(other)).holds(other));
        }
    }
}
