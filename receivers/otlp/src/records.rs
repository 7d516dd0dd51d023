use std::mem;

use flow_records::Decoded;
use model::{Batch, Flows, Listeners};

/// As many records as an observer sends at a time: what is behind the receiver holds so many batches, however large requests are.
const MAX_BATCH: usize = 256;

/// Divides what was in a request into batches, in its order.
pub(crate) fn batches(decoded: Decoded) -> impl Iterator<Item = Batch> {
    let Decoded { flows, listeners, .. } = decoded;
    let flows = chunks(flows).map(|records| Batch::Flows(Flows { records }));
    flows.chain(chunks(listeners).map(|records| Batch::Listeners(Listeners { records })))
}

fn chunks<T>(mut rest: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let later = rest.split_off(rest.len().min(MAX_BATCH));
        let chunk = mem::replace(&mut rest, later);
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use component_test::{flow, listener};

    use super::*;

    #[test]
    fn a_large_request_is_several_batches() {
        let flows = (0..600).map(|n| flow().id(n).build()).collect::<Vec<_>>();
        let decoded = Decoded { flows: flows.clone(), listeners: vec![listener()], ..Decoded::default() };
        let (mut sizes, mut all) = (Vec::new(), Vec::new());
        for batch in batches(decoded) {
            sizes.push(batch.n_items());
            if let Batch::Flows(mut it) = batch {
                all.append(&mut it.records);
            }
        }
        assert_eq!((sizes, all), (vec![256, 256, 88, 1], flows));
        assert_eq!(batches(Decoded::default()).count(), 0);
    }
}
