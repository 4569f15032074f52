package main

import (
	"strings"
	"testing"
)

func TestEachObjectGetsALine(t *testing.T) {
	key := func(metadata, status string) string {
		return `{"apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": "AccessKey", "metadata": {"name": "checkout", "generation": 2` +
			metadata + `}, "spec": {}, "status": ` + status + "}\n"
	}
	condition := func(kind, value string) string {
		return `{"type": "` + kind + `", "status": "` + value + `", "reason": "Some", "message": "two\nlines"}`
	}
	for _, row := range []struct{ object, line string }{
		// A new resource has the CRD's default status, and must not count as done.
		{key("", `{"observedGeneration": -1}`), "InProgress\t"},
		{key("", `{"observedGeneration": 2, "conditions": [`+condition("Ready", "True")+`]}`), "Current\t"},
		{key("", `{"observedGeneration": 1, "conditions": [`+condition("Ready", "True")+`]}`), "InProgress\t"},
		{key("", `{"observedGeneration": 2, "conditions": [`+condition("Reconciling", "True")+`]}`), "InProgress\ttwo lines"},
		{key("", `{"observedGeneration": 2, "conditions": [`+condition("Stalled", "True")+`]}`), "Failed\ttwo lines"},
		{key(`, "deletionTimestamp": "2026-11-02T03:04:05Z"`, `{"observedGeneration": 2}`), "Terminating\t"},
	} {
		var out strings.Builder
		if err := run(strings.NewReader(row.object), &out); err != nil {
			t.Errorf("%s: %v", row.object, err)
		}
		if got := out.String(); !strings.HasPrefix(got, row.line) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: got %q, want %q", row.object, got, row.line)
		}
	}
}

func TestAnObjectWithoutStatusDoesNotHideTheNext(t *testing.T) {
	var out strings.Builder
	err := run(strings.NewReader(`{"metadata": {}} {"kind": "AccessKey", "apiVersion": "v1", "metadata": {"name": "a"}}`), &out)
	lines := strings.Split(out.String(), "\n")
	if err == nil || len(lines) != 3 || !strings.HasPrefix(lines[0], "Error\t") || !strings.HasPrefix(lines[1], "Current\t") {
		t.Errorf("got %v and %q", err, lines)
	}
}

func TestInputThatIsNotJSONIsAnError(t *testing.T) {
	if err := run(strings.NewReader("kind: AccessKey"), &strings.Builder{}); err == nil {
		t.Error("no error")
	}
}
