//! What the fuzz target `frame_decode` begins with: the frames that the encoders of today write.
//!
//! The seeds once ended at the opcodes that existed when somebody made them by hand, and nobody saw
//! it: the requests of groups were reached by chance alone. `plimsoll-arbitrary` says whether one
//! is missing; this writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use plimsoll_wire::*;

use crate::frames::{encode_response, fixed_parts, whole_frame};

#[test]
#[ignore = "writes into the tree; run it when an opcode or a field is new"]
fn write_the_seeds_of_the_fuzz_target_frame_decode() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/fuzz/seeds/frame_decode");
    let mut written = BTreeMap::<String, usize>::new();
    let error = FrameError::Flags { bits: 2 };
    let error = ErrorResponse::of_frame(Opcode::Connection, &error, "no frame");
    let error = encode_response(&Response::Error(error), CorrelationId::NONE);
    for bytes in fixed_parts().frames().into_iter().chain([error]) {
        let frame = whole_frame(&bytes);
        let direction = match (frame.flags.is_error(), frame.flags.is_response()) {
            (true, _) => "error",
            (false, true) => "response",
            (false, false) => "request",
        };
        let (number, name) = (u8::from(frame.opcode), format!("{:?}", frame.opcode));
        let kind = format!("{number:02}-{direction}-{}", name.to_lowercase());
        let nth = written.entry(kind.clone()).or_default();
        *nth += 1;
        fs::write(folder.join(format!("{kind}-{nth}")), bytes).unwrap();
    }
}
