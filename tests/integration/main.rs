//! The built operator on a real control plane, with the rights of its chart, against the token API's emulator.

// Clippy knows tests by their attribute, and these have none.
#![allow(clippy::unwrap_used)]

#[path = "../crds/mod.rs"]
mod crds;
mod faults;
mod life;
mod orphans;
mod quiet;
mod refusals;
mod rules;
mod shapes;
mod stopping;
mod world;

use std::process::ExitCode;

use keeptrusts_harness::suite::Suite;
use keeptrusts_harness::tests;

fn main() -> ExitCode {
    Suite::new()
        .crds(concat!(env!("CARGO_MANIFEST_DIR"), "/crds"))
        .tests(tests![
            rules::every_rule_of_the_crds_holds,
            life::an_access_key_is_minted,
            life::a_gateway_key_is_minted,
            life::a_raised_generation_rotates_in_place_once,
            life::a_lower_generation_does_nothing_and_says_so,
            life::a_new_template_is_rendered_without_a_rotation,
            life::so_is_that_of_a_gateway_key,
            life::a_label_that_was_stripped_is_put_back,
            life::a_deleted_secret_is_repaired_while_the_old_value_lives_on,
            life::an_edited_secret_is_repaired,
            life::so_is_a_gateway_keys_edited_secret,
            life::a_token_is_renewed_before_it_expires,
            life::so_is_a_gateways_token,
            life::a_suspended_key_waits,
            life::so_does_a_suspended_gateway_key,
            life::deletion_revokes_in_the_background,
            life::deletion_revokes_in_the_foreground,
            life::a_retained_token_outlives_its_resource,
            life::a_namespace_takes_its_tokens_with_it,
            faults::during_a_mint,
            faults::during_the_mint_of_a_gateway_key,
            faults::during_a_rotation,
            faults::during_a_repair,
            faults::during_a_deletion,
            faults::during_a_deletion_that_retains,
            refusals::a_foreign_secret_is_left_alone,
            refusals::a_quota_is_shown_before_a_token_is_made,
            refusals::an_admission_policy_is_shown_before_a_token_is_made,
            refusals::a_terminating_namespace_is_shown_before_a_token_is_made,
            refusals::a_refused_credential_concerns_those_that_need_something,
            refusals::an_enforced_expiry_is_cured_by_a_spec_edit,
            refusals::nonsense_makes_no_secret_and_no_second_token,
            refusals::two_operators_make_one_token_for_each_key,
            refusals::a_forged_id_is_never_called,
            refusals::an_object_that_cannot_be_read_harms_no_other,
            refusals::the_longest_name_works,
            refusals::a_replaced_object_gets_its_finalizer_back,
            refusals::an_error_after_the_fact_is_a_lost_answer,
            refusals::a_token_that_no_list_shows_is_let_go_by_a_person,
            refusals::altered_names_stop_the_minting,
            shapes::every_open_answer_works,
            stopping::a_value_on_its_way_still_reaches_the_secret,
            orphans::the_command_lists_and_revokes_orphans_alone,
            orphans::the_operator_tells_of_an_orphan_once_and_leaves_it_alone,
            quiet::at_rest_nothing_is_written_or_called,
            quiet::a_restart_costs_nothing,
            quiet::one_key_costs_five_writes_and_one_call,
            quiet::no_value_is_anywhere_but_in_the_secret,
            quiet::kstatus_reads_every_row,
        ])
        .run()
}
