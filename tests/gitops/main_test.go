package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

const config = "../../examples/argocd/argocd-cm.yaml"

var kinds = []string{"AccessKey", "GatewayKey"}

func argocd(t *testing.T) argo {
	t.Helper()
	argo, err := configured(config)
	if err != nil {
		t.Fatal(err)
	}
	return argo
}

// key makes an object of JSON without its outer braces.
func key(t *testing.T, kind, fields string) *unstructured.Unstructured {
	t.Helper()
	text := fmt.Sprintf(`{"apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": %q, %s}`, kind, fields)
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return object
}

// Whatever the conditions are: a key is as healthy to Argo CD as it is to kstatus, and so to Flux.
func TestHealthIsWhatKstatusReads(t *testing.T) {
	argo := argocd(t)
	means := map[status.Status]health.HealthStatusCode{
		status.CurrentStatus:     health.HealthStatusHealthy,
		status.InProgressStatus:  health.HealthStatusProgressing,
		status.FailedStatus:      health.HealthStatusDegraded,
		status.TerminatingStatus: health.HealthStatusProgressing,
	}
	seen := map[status.Status]int{}
	for _, kind := range kinds {
		for _, deleting := range []string{"", `, "deletionTimestamp": "2026-11-02T03:04:05Z"`} {
			for _, observed := range []int{-1, 1, 2} {
				for _, ready := range []string{"True", "False", "Unknown"} {
					// The operator never has both, and has each only while it is true; somebody else's condition stands before them.
					for _, other := range []string{"", "Reconciling True", "Reconciling False", "Stalled True", "Stalled False"} {
						conditions := condition("Elsewhere", "True") + ", " + condition("Ready", ready)
						if kind, value, some := strings.Cut(other, " "); some {
							conditions += ", " + condition(kind, value)
						}
						object := key(t, kind, fmt.Sprintf(`"metadata": {"name": "checkout", "generation": 2%s}, "spec": {},
							"status": {"observedGeneration": %d, "conditions": [%s]}`, deleting, observed, conditions))
						read, err := status.Compute(object)
						if err != nil {
							t.Fatal(err)
						}
						seen[read.Status]++
						got, err := argo.health(object)
						if err != nil {
							t.Fatal(err)
						}
						if got.Status != means[read.Status] {
							t.Errorf("%s %s observed %d, ready %s, %s: %s, but kstatus reads %s",
								kind, deleting, observed, ready, other, got.Status, read.Status)
						}
					}
				}
			}
		}
	}
	if len(seen) != len(means) {
		t.Errorf("kstatus read %v alone", seen)
	}
}

func condition(kind, value string) string {
	return fmt.Sprintf(`{"type": %q, "status": %q, "reason": "Some", "message": "of %s"}`, kind, value, kind)
}

// Before the operator has written anything a key isn't healthy, whatever is there of a status.
func TestWhatNobodyHasSeenIsNotHealthy(t *testing.T) {
	argo := argocd(t)
	for _, status := range []string{
		``,
		`, "status": {}`,
		`, "status": {"observedGeneration": -1}`,
		`, "status": {"observedGeneration": 1}`,
		`, "status": {"observedGeneration": 1, "conditions": []}`,
	} {
		got, err := argo.health(key(t, "AccessKey", `"metadata": {"name": "checkout", "generation": 1}, "spec": {}`+status))
		if err != nil || got.Status != health.HealthStatusProgressing || got.Message == "" {
			t.Errorf("%q: got %v, %v", status, got, err)
		}
	}
}

func TestTheMessageIsTheConditionsWithItsReason(t *testing.T) {
	object := key(t, "GatewayKey", `"metadata": {"name": "edge", "generation": 1}, "spec": {},
		"status": {"observedGeneration": 1, "conditions": [`+condition("Ready", "False")+`, `+condition("Stalled", "True")+`]}`)
	got, err := argocd(t).health(object)
	if err != nil || got.Message != "Some: of Stalled" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestActionsAreOfferedWhereTheyDoSomething(t *testing.T) {
	argo := argocd(t)
	const meta = `"metadata": {"name": "checkout"}, `
	for _, kind := range kinds {
		for _, row := range []struct {
			fields string
			want   []string
		}{
			{meta + `"spec": {}`, []string{"rotate", "rotate-now", "suspend"}},
			{meta + `"spec": {"rotation": {"generation": 2}}, "status": {"observedRotationGeneration": 2}`, []string{"rotate", "rotate-now", "suspend"}},
			{meta + `"spec": {"rotation": {"generation": 1}}, "status": {"observedRotationGeneration": 2}`, []string{"rotate", "rotate-now", "suspend"}},
			{meta + `"spec": {"rotation": {"generation": 3}}, "status": {"observedRotationGeneration": 2}`, []string{"rotate-now", "suspend"}},
			{meta + `"spec": {"suspend": true}`, []string{"resume"}},
			{meta + `"spec": {"suspend": false}`, []string{"rotate", "rotate-now", "suspend"}},
			{meta + `"spec": {"state": "Revoked"}`, []string{"suspend"}},
			{`"metadata": {"name": "checkout", "deletionTimestamp": "2026-11-02T03:04:05Z"}, "spec": {}`, []string{"suspend"}},
		} {
			got, err := argo.actions(key(t, kind, row.fields))
			if err != nil || !reflect.DeepEqual(got, row.want) {
				t.Errorf("%s: got %v, %v, want %v", row.fields, got, err, row.want)
			}
		}
	}
}

func TestAnActionChangesNothingButWhatItIsFor(t *testing.T) {
	argo := argocd(t)
	// Maps and lists that are empty, which Lua can't tell apart, numbers, and what the API server adds.
	const rest = `"metadata": {"name": "checkout", "generation": 4, "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {".": {}, "f:secret": {}}}}]},
		"status": {"observedRotationGeneration": 5, "superseded": [], "conditions": []}`
	for _, kind := range kinds {
		for _, row := range []struct{ action, spec, patch string }{
			{"rotate", `{}`, `{"spec": {"rotation": {"generation": 6}}}`},
			{"rotate", `{"secret": {"template": {"labels": {}, "data": {}}}, "workloads": {"refs": []}}`, `{"spec": {"rotation": {"generation": 6}}}`},
			{"rotate", `{"rotation": {"generation": 2, "windows": [], "grace": "1h"}}`, `{"spec": {"rotation": {"generation": 6}}}`},
			{"rotate", `{"rotation": {"generation": 7}}`, `{"spec": {"rotation": {"generation": 8}}}`},
			{"suspend", `{}`, `{"spec": {"suspend": true}}`},
			{"suspend", `{"suspend": true}`, `{}`},
			{"resume", `{"suspend": true}`, `{"spec": {"suspend": null}}`},
			{"resume", `{}`, `{}`},
		} {
			patch, err := argo.action(row.action, key(t, kind, rest+`, "spec": `+row.spec))
			var got, want any
			if err == nil {
				err = json.Unmarshal(patch, &got)
			}
			if wrong := json.Unmarshal([]byte(row.patch), &want); wrong != nil {
				t.Fatal(wrong)
			}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s of %s: got %s, %v, want %s", row.action, row.spec, patch, err, row.patch)
			}
		}
		patch, err := argo.action("rotate-now", key(t, kind, rest+`, "spec": {}`))
		var got struct {
			Metadata struct{ Annotations map[string]string }
			Spec     any
		}
		if err == nil {
			err = json.Unmarshal(patch, &got)
		}
		if now := got.Metadata.Annotations["keys.keeptrusts.com/rotate-now"]; err != nil || len(now) != len("2026-11-02T03:04:05Z") || got.Spec != nil {
			t.Errorf("rotate-now: got %s, %v", patch, err)
		}
	}
}

func TestEveryRequestGetsALine(t *testing.T) {
	const object = `{"apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": "AccessKey", "metadata": {"name": "checkout", "namespace": "shop"}, "spec": {}}`
	const other = `{"apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": "AccessKey", "metadata": {"name": "checkout"}, "spec": {"suspend": true}}`
	in := `{"health": ` + object + `} {"actions": ` + object + `} {"diff": {"git": ` + object + `, "live": ` + object + `}}
		{"diff": {"git": ` + other + `, "live": ` + object + `}} {"action": {"name": "nonsense", "object": ` + object + `}} {}`
	var out strings.Builder
	err := run(config, strings.NewReader(in), &out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if err == nil || len(lines) != 6 {
		t.Fatalf("got %v and %s", err, out.String())
	}
	for number, want := range []string{`{"status":"Progressing"`, `["rotate",`, `{"outOfSync":false}`, `{"outOfSync":true,`, `{"error":`, `{"error":`} {
		if !strings.HasPrefix(lines[number], want) {
			t.Errorf("line %d: got %s, want %s", number, lines[number], want)
		}
	}
}
