//! `sotto version`.

use sotto_proto::VersionRange;

use crate::failure::Failure;
use crate::output::Output;
use crate::record::Record;

/// Prints the versions of the program and of the protocol it speaks.
pub(crate) fn run(out: &mut Output) -> Result<(), Failure> {
    let range = VersionRange::OURS;
    let record = Record::Version {
        program: "sotto",
        version: env!("CARGO_PKG_VERSION"),
        protocol_min: range.min,
        protocol_max: range.max,
    };
    out.record(&record, |lines| {
        lines.line(&format!("sotto {}", env!("CARGO_PKG_VERSION")));
        lines.line(&format!("protocol {range}"));
    })?;
    Ok(())
}
