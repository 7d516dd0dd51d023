//! Serves metrics to be scraped by Prometheus.

#![forbid(unsafe_code)]
