//! How long a needle lives.

/// A time to live: two bytes on disk, a count and a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    count: u8,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    /// 30 days.
    Month,
    /// 365 days.
    Year,
}

impl Ttl {
    /// From the two bytes on disk. None is "lives for ever": a count of 0, or a unit that
    /// SeaweedFS does not know and takes for none.
    pub const fn parse([count, unit]: [u8; 2]) -> Option<Self> {
        let unit = match unit {
            1 => Unit::Minute,
            2 => Unit::Hour,
            3 => Unit::Day,
            4 => Unit::Week,
            5 => Unit::Month,
            6 => Unit::Year,
            _ => return None,
        };
        if count == 0 {
            return None;
        }
        Some(Self { count, unit })
    }

    /// The time to live in seconds: from 60 to 255 years.
    pub const fn seconds(self) -> u64 {
        let unit = match self.unit {
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
            Unit::Week => 7 * 86_400,
            Unit::Month => 30 * 86_400,
            Unit::Year => 365 * 86_400,
        };
        self.count as u64 * unit
    }

    /// Whether something written at `written_ns` has outlived this at `now_ns`, both
    /// nanoseconds since the Unix epoch. It has in the very nanosecond its time is up.
    pub const fn expired(self, written_ns: u64, now_ns: u64) -> bool {
        let life_ns = self.seconds().saturating_mul(1_000_000_000);
        now_ns >= written_ns.saturating_add(life_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_has_its_length() {
        let seconds = |unit| Ttl::parse([3, unit]).map(Ttl::seconds);
        assert_eq!(seconds(1), Some(180));
        assert_eq!(seconds(2), Some(3 * 3_600));
        assert_eq!(seconds(3), Some(3 * 86_400));
        assert_eq!(seconds(4), Some(21 * 86_400));
        assert_eq!(seconds(5), Some(90 * 86_400));
        assert_eq!(seconds(6), Some(3 * 365 * 86_400));
    }

    #[test]
    fn no_count_and_unknown_units_live_for_ever() {
        for bytes in [[0, 0], [0, 3], [5, 0], [5, 7], [255, 255]] {
            assert_eq!(Ttl::parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn it_expires_when_its_time_is_up_and_not_before() {
        let ttl = Ttl::parse([1, 1]).unwrap();
        let written = 1_700_000_000_000_000_000;
        assert!(!ttl.expired(written, written + 59_999_999_999));
        assert!(ttl.expired(written, written + 60_000_000_000));
        assert!(!ttl.expired(written, written - 1), "a clock that went back");
        assert!(
            !ttl.expired(u64::MAX, u64::MAX - 1),
            "a time past all times"
        );
    }
}
