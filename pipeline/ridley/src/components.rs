//! The components that this program is made of: the only place that names them.

use component::Factory;

/// Returns the factory of every component, in the order in which documents list them.
pub(crate) fn factories() -> Vec<Factory> {
    vec![
        // Receivers
        ebpf_receiver::factory(),
        otlp_receiver::factory(),
        replay_receiver::factory(),
        // Processors
        process_processor::factory(),
        kubernetes_processor::factory(),
        join_processor::factory(),
        memory_limiter_processor::factory(),
        resource_processor::factory(),
        batch_processor::factory(),
        // Connectors
        links_connector::factory(),
        spans_connector::factory(),
        // Exporters
        prometheus_exporter::factory(),
        prometheusremotewrite_exporter::factory(),
        otlp_exporter::factory(),
        debug_exporter::factory(),
        file_exporter::factory(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A configuration names components by section and type, so two of one kind need different types.
    #[test]
    fn each_component_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for factory in factories() {
            let name = (factory.kind(), factory.type_name());
            assert!(names.insert(name), "there are two of {name:?}");
        }
    }
}
