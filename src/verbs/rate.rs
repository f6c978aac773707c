//! How fast a port is, from the two codes it gives (`active_speed`, `active_width` of
//! ibv_query_port(3)).

use ibverbs_sys::ibv_port_attr;

/// Bytes a second a lane carries at most in one direction, by the bit of its speed: the nominal
/// rates that the kernel shows in sysfs and `ibv_devinfo` (SDR to XDR), in units of 0.5 Gb/s.
const HALF_GIGABITS: [u64; 8] = [5, 10, 20, 20, 28, 50, 100, 200];
const HALF_GIGABIT_BYTES: u64 = 500_000_000 / 8;

/// Nominal rate of a port, bytes a second; 0 when the driver gives no code that is known.
pub(super) fn port_rate(port: &ibv_port_attr) -> u64 {
    rate(port.active_speed, port.active_width)
}

fn rate(speed: u8, width: u8) -> u64 {
    let lanes = match width {
        1 => 1,
        2 => 4,
        4 => 8,
        8 => 12,
        16 => 2,
        _ => return 0,
    };
    let known = speed.is_power_of_two();
    let place = speed.trailing_zeros() as usize;
    let lane = HALF_GIGABITS.get(place).filter(|_| known);
    lane.map_or(0, |lane| lanes * lane * HALF_GIGABIT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIGABIT: u64 = 1_000_000_000 / 8;

    #[test]
    fn the_rate_is_the_speed_of_a_lane_times_the_lanes() {
        // 10GbE as a single QDR lane, 4X EDR, 4X HDR, 4X NDR, and Soft-RoCE's 1X SDR.
        for (speed, width, gigabits) in [(4, 1, 10), (32, 2, 100), (64, 2, 200), (128, 2, 400)] {
            assert_eq!(rate(speed, width), gigabits * GIGABIT, "{speed} {width}");
        }
        assert_eq!(rate(1, 1), 5 * GIGABIT / 2);
    }

    #[test]
    fn codes_that_are_not_known_are_no_rate() {
        for (speed, width) in [(0, 1), (3, 1), (1, 0), (1, 3), (255, 255)] {
            assert_eq!(rate(speed, width), 0, "{speed} {width}");
        }
    }
}
