//! The built operator on a real control plane, with the rights of its chart, against the token API's emulator.

// Clippy knows tests by their attribute, and these have none.
#![allow(clippy::unwrap_used)]

mod adoption;
mod argo;
#[path = "../crds/mod.rs"]
mod crds;
mod deletion;
mod drain;
mod drift;
mod examples;
mod faults;
mod gitops;
mod ha;
mod health;
mod life;
mod load;
mod logs;
mod metrics;
mod orphans;
mod policies;
mod quiet;
mod refusals;
mod restore;
mod revoked;
mod rights;
mod rotation;
mod rules;
mod scopes;
mod selector;
mod shapes;
mod stopping;
mod traces;
mod workloads;
mod world;

use std::process::ExitCode;

use keeptrusts_harness::suite::{Suite, Test};
use keeptrusts_harness::tests;

fn main() -> ExitCode {
    Suite::new()
        .crds(concat!(env!("CARGO_MANIFEST_DIR"), "/crds"))
        .afterwards(rights::are_all_used_and_enough)
        .limit(load::limit())
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
            life::a_secret_that_went_while_nobody_watched_is_repaired,
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
            scopes::roles_alone_are_enough,
            policies::they_are_not_in_the_operators_way,
            policies::the_operators_account_does_what_it_needs_and_no_more,
            policies::labels_that_hand_a_secret_over_are_refused,
            faults::during_a_mint,
            faults::during_the_mint_of_a_gateway_key,
            faults::during_a_rotation,
            faults::during_an_overlap,
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
            traces::an_operation_is_one_trace_and_who_takes_over_links_to_it,
            traces::nobody_waits_for_a_collector_that_is_away,
            stopping::a_value_on_its_way_still_reaches_the_secret,
            orphans::the_command_lists_and_revokes_orphans_alone,
            orphans::the_operator_tells_of_an_orphan_once_and_leaves_it_alone,
            orphans::a_list_of_fifty_thousand_tokens_takes_no_room,
            metrics::every_query_of_alerts_and_dashboard_finds_its_metrics,
            quiet::at_rest_nothing_is_written_or_called,
            quiet::a_restart_costs_nothing,
            quiet::one_key_costs_five_writes_and_one_call,
            quiet::no_value_is_anywhere_but_in_the_secret,
            quiet::kstatus_reads_every_row,
        ])
        .tests(rotations())
        .tests(who_acts_and_what_is_told())
        .tests(what_others_do_and_how_it_ends())
        .tests(what_users_copy())
        .run()
}

/// Rotations, by what is restarted and who notices.
fn rotations() -> Vec<Test> {
    tests![
        rotation::an_overlap_keeps_the_old_value_alive_for_its_grace,
        rotation::so_does_a_gateway_keys,
        rotation::a_second_one_amidst_an_overlap,
        rotation::one_in_place_ends_an_overlap,
        rotation::at_once_means_at_once_and_once,
        rotation::so_it_does_for_a_gateway_key,
        rotation::the_history_tells_who_and_why,
        workloads::the_old_value_lives_until_its_workload_runs_on_the_new_one,
        workloads::workloads_of_every_kind_are_restarted_once,
        workloads::keys_that_change_together_restart_a_workload_once,
        workloads::a_kill_amidst_a_rollout_restarts_nothing_twice,
        workloads::what_cannot_roll_out_is_said_and_the_old_value_kept,
        workloads::without_the_right_nothing_is_touched_and_the_chart_is_named,
        workloads::gitops_tools_do_not_undo_a_restart,
        workloads::what_uses_the_secret_is_found_and_restarted,
        load::nobody_notices_rotations_that_overlap,
        load::a_rotation_in_place_is_noticed,
        rotation::a_schedule_rotates_by_itself,
        rotation::so_does_a_gateway_keys_in_place,
        rotation::a_window_holds_a_schedule_back_and_nothing_else,
        rotation::a_schedule_that_makes_no_sense_names_its_field,
    ]
}

/// Replicas, health, logs, and keys that are chosen by labels.
fn who_acts_and_what_is_told() -> Vec<Test> {
    tests![
        ha::at_rest_nothing_but_the_lease_is_written,
        ha::without_leader_election_no_lease_is_looked_at,
        ha::who_stands_by_takes_over_from_a_killed_leader,
        ha::a_clean_stop_hands_over_at_once_but_not_before_all_is_done,
        ha::a_leader_that_was_frozen_ends,
        ha::a_leader_that_is_cut_off_ends,
        ha::a_leader_whose_lease_is_deleted_ends,
        ha::what_a_leader_holds_that_is_cut_off_is_not_lost_on_the_way,
        health::a_token_api_that_is_down_is_told_and_stops_nobody,
        health::half_open_requests_keep_no_probe_out_and_take_little_memory,
        health::an_operator_that_comes_before_its_crds_waits_for_them,
        health::a_crd_that_goes_is_told_and_costs_no_readiness,
        logs::every_line_about_a_key_says_whose_it_is,
        logs::a_key_at_rest_is_not_worth_a_line,
        logs::the_level_changes_while_the_operator_runs,
        selector::keys_without_the_label_are_left_alone,
        selector::a_key_that_loses_its_label_is_left_as_it_is,
        selector::what_is_in_flight_is_finished_though_the_label_is_gone,
        selector::no_orphans_are_reported_by_who_does_not_see_all_keys,
        selector::nonsense_is_refused_by_the_flags_name,
    ]
}

/// Drift, restore, adoption, `state: Revoked`, deletion.
fn what_others_do_and_how_it_ends() -> Vec<Test> {
    tests![
        drift::a_token_that_was_revoked_elsewhere_is_replaced,
        drift::so_is_a_gateways_token_that_lists_show_as_revoked,
        drift::a_token_that_was_rotated_elsewhere_is_replaced,
        drift::so_is_a_gateways_token_by_its_prefix_alone,
        drift::a_token_that_has_expired_is_replaced,
        drift::a_list_that_lacks_what_lives_is_not_believed,
        drift::a_list_that_lies_is_contradicted_by_the_value,
        drift::absence_and_a_whoami_that_says_nothing_condemn_nobody,
        drift::another_organizations_list_condemns_nobody,
        drift::a_401_to_everybody_condemns_nobody,
        drift::what_is_listed_as_revoked_needs_no_whoami,
        drift::one_of_many_that_vanishes_needs_no_whoami,
        drift::halt_waits_for_a_person,
        drift::so_it_does_where_the_token_was_rotated,
        drift::what_waits_does_not_pass_for_ready_over_a_dead_value,
        drift::a_rotation_that_finds_its_token_dead_makes_another,
        drift::a_restart_raises_nobody_from_the_dead,
        drift::a_restart_finishes_a_replacement,
        drift::what_is_stripped_from_the_secret_is_put_back,
        restore::a_wiped_status_is_rebuilt,
        restore::so_is_that_of_a_gateway_key,
        restore::a_new_uid_takes_up_its_secret,
        restore::so_does_a_gateway_keys,
        restore::an_owner_reference_to_a_former_uid_does_no_harm,
        restore::an_old_secret_of_a_lost_resource_is_replaced,
        restore::an_old_secret_of_a_living_resource_is_replaced,
        restore::a_value_that_cannot_be_proved_is_replaced,
        restore::a_dead_value_is_replaced,
        restore::a_restart_in_the_middle_raises_nothing,
        restore::a_status_that_is_wiped_in_flight,
        restore::a_clone_leaves_the_originals_tokens_alone,
        restore::a_secret_of_another_installation_is_left_alone,
        adoption::a_token_is_taken_over_by_rotating_it,
        adoption::so_is_a_gateways,
        adoption::an_adopted_token_dies_with_its_resource,
        adoption::a_token_is_taken_over_with_its_secret,
        adoption::so_is_a_gateways_with_its_secret,
        adoption::a_secret_whose_value_is_not_the_tokens_is_refused,
        adoption::a_value_that_cannot_be_proved_is_not_adopted,
        adoption::nobody_adopts_unless_the_operator_is_allowed_to,
        adoption::nor_in_a_namespace_that_is_not_named,
        adoption::a_star_stands_for_every_namespace,
        adoption::what_is_anothers_is_refused,
        adoption::of_two_that_want_the_same_token_one_gets_it,
        adoption::the_other_type_a_dead_one_and_an_unknown_one_are_refused,
        adoption::the_operators_own_token_is_refused,
        adoption::a_kill_in_the_middle_of_an_adoption,
        adoption::a_permission_that_is_withdrawn,
        adoption::a_corrected_id_is_free_for_others,
        adoption::an_adopted_token_whose_id_changes,
        adoption::permission_is_by_namespace,
        revoked::every_token_dies_and_the_resource_stays,
        revoked::so_does_a_gateways,
        revoked::so_do_the_superseded_ones,
        revoked::so_does_what_is_on_its_way,
        revoked::so_does_what_arrives_late,
        revoked::so_does_what_is_rotated_late,
        revoked::neither_suspend_nor_halt_is_in_its_way,
        revoked::a_resource_that_begins_so_has_no_token,
        revoked::a_secret_that_is_gone_is_not_missed,
        revoked::an_api_that_is_down_is_waited_for,
        revoked::a_restart_finishes_it,
        revoked::a_forged_mark_makes_no_token,
        drain::tokens_are_retained_with_their_secrets,
        drain::tokens_are_revoked_whatever_the_keys_say,
        drain::an_operator_that_is_away_is_said_and_waited_for,
        drain::keys_of_another_instance_are_left_alone,
        drain::a_selector_narrows_it,
        drain::a_key_that_is_created_again_is_named,
        deletion::an_api_that_is_down_is_waited_for,
        deletion::a_refused_credential_is_waited_for,
        deletion::an_operator_that_is_away_is_waited_for,
        deletion::a_namespace_waits_with_everything_in_it,
        deletion::two_deletions_race_a_rotation,
        deletion::a_deletion_races_a_mint,
        deletion::retain_lets_go_though_the_api_is_down,
        deletion::retain_revokes_what_was_superseded,
        deletion::retain_says_that_the_secret_is_gone,
        deletion::an_empty_list_lets_nothing_go,
        deletion::a_list_that_is_cut_short_lets_nothing_go,
        deletion::an_invalid_spec_is_in_nobodys_way,
    ]
}

/// The examples, and the tools that apply them.
fn what_users_copy() -> Vec<Test> {
    tests![
        examples::an_application_that_rereads_its_key_loses_no_request,
        examples::what_examples_refer_to_is_there,
        gitops::a_server_side_apply_ten_times_over_changes_nothing,
        gitops::nor_does_a_client_side_one,
        gitops::force_alone_revokes_for_a_typo,
        gitops::argo_cds_actions_leave_a_key_in_sync,
        gitops::what_git_says_is_put_back_without_a_rotation,
        gitops::kustomize_renames_what_refers_to_a_key,
    ]
}
