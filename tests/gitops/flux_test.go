package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"testing"

	helm "github.com/fluxcd/helm-controller/api/v2"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// The module of Flux's helm-controller, with the CRD, can't be had from every proxy; its types can. The other kinds of Flux are tried with
// their CRDs: tools/examples-check.
func TestTheHelmReleaseIsOne(t *testing.T) {
	text, err := os.ReadFile("../../examples/flux/operator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := yaml.NewYAMLToJSONDecoder(bytes.NewReader(text))
	found := 0
	for {
		var document json.RawMessage
		if err := documents.Decode(&document); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		var kind struct{ APIVersion, Kind string }
		if err := json.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		if kind.Kind != helm.HelmReleaseKind {
			continue
		}
		found++
		var release helm.HelmRelease
		strict := json.NewDecoder(bytes.NewReader(document))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&release); err != nil {
			t.Error(err)
		}
		if kind.APIVersion != helm.GroupVersion.String() || release.Spec.Chart == nil || release.GetValues()["api"] == nil {
			t.Errorf("got %s", document)
		}
	}
	if found != 1 {
		t.Errorf("%d HelmReleases", found)
	}
}
