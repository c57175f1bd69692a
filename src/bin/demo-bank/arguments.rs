//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Five account services and an identity provider over real HTTP, for demos, tests and load tests.
///
/// Ports, counted from --port-base: checking, savings, cards, loans, investments, identity provider, control.
/// `curl http://127.0.0.1:7107/` lists what the control port can do.
#[derive(Debug, Parser)]
#[command(name = "demo-bank", version)]
pub struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub address: IpAddr,

    /// First of seven ports; 0 picks free ones
    #[arg(long, default_value = "7101", value_parser = port_base)]
    pub port_base: u16,

    /// How long each answer about an account takes, such as 100ms or 2s
    #[arg(long, default_value = "100ms", value_parser = duration)]
    pub delay: Duration,

    /// What the identity provider calls itself [default: its address]
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,

    /// Write the ports to this file, as JSON, once all of them are open
    #[arg(long, value_name = "FILE")]
    pub ports_file: Option<PathBuf>,

    /// Keep the identity provider's keys in this directory, so that a restart finds them again
    #[arg(long, value_name = "DIR")]
    pub keys_dir: Option<PathBuf>,
}

fn port_base(text: &str) -> Result<u16, String> {
    let base: u16 = text.parse().map_err(|error| format!("{error}"))?;
    if base.checked_add(6).is_none() {
        return Err("there are not seven ports from here on".to_owned());
    }
    Ok(base)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is a whole number with `ms` or `s`, such as 100ms".to_owned();
    let (number, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1_000),
        (None, None) => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_millis(u64::from(number) * unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for odd in ["100", "ms", "1.5s", "-1s", "1 s", ""] {
            assert!(duration(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn seven_ports_must_fit() {
        assert_eq!(port_base("65529"), Ok(65_529));
        assert!(port_base("65530").is_err());
    }
}
