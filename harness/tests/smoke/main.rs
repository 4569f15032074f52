//! The harness tests itself, with its own suite.
//!
//! The program plays four parts: the suite; a suite with a test that panics, which the first one starts; an operator, which the
//! fixture chart describes; and a client that is killed in the middle of a request.

// Clippy knows tests by their attribute, and these have none.
#![allow(clippy::unwrap_used)]

mod chart;
mod cluster;
mod ending;
mod pretend_operator;
mod proxy;

use std::process::ExitCode;

use keeptrusts_harness::suite::Suite;
use keeptrusts_harness::tests;

/// The folder of the fixture chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/chart");

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("pretend-operator") {
        return pretend_operator::run();
    }
    if let Some(dir) = std::env::var_os(ending::INNER) {
        return ending::inner_suite(dir.as_ref());
    }
    if let Ok(kubeconfig) = std::env::var(proxy::SENDER) {
        return proxy::sender(&kubeconfig);
    }
    Suite::new()
        .crds(format!("{CHART}/crds"))
        .tests(tests![
            cluster::the_namespace_controller_works,
            cluster::kubectl_and_helm_talk_to_the_server,
            cluster::rbac_is_enforced_and_the_audit_log_sees_it,
            cluster::bodies_are_recorded_but_those_of_secrets,
            cluster::owned_objects_of_a_crd_are_garbage_collected,
            chart::the_operator_is_what_the_deployment_says,
            chart::a_credential_changes_while_the_operator_runs,
            chart::two_operators_run_at_once,
            chart::what_the_template_forgets_is_an_error,
            chart::a_verb_that_the_role_lacks_shows,
            proxy::a_client_works_through_it,
            proxy::the_operators_own_token_passes,
            proxy::an_operator_is_started_behind_it,
            proxy::a_request_arrives_after_the_death_of_its_sender,
            proxy::a_held_answer_says_that_it_is_done,
            proxy::cuts_differ_in_what_the_server_has_done,
            proxy::made_up_answers_are_those_of_an_api_server,
            proxy::the_steps_of_a_secret_are_told_apart,
            ending::a_panic_stops_everything_and_keeps_the_logs,
            ending::a_killed_run_leaves_no_process_behind,
            ending::the_api_server_stops_and_starts_and_freezes,
        ])
        .run()
}
