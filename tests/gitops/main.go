// Command argocd says what Argo CD makes of objects, by Argo CD's own code: its settings, the Lua in which they are customized, health,
// actions and the diff by which an object is OutOfSync.
//
// Its argument is the file of a ConfigMap argocd-cm. Its input is a stream of JSON requests, each with one field; for each it writes one
// line of JSON. A request that fails has an answer with the field error, and the exit code is 1 at the end.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/argo/diff"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	jsonpatch "github.com/evanphx/json-patch"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

type request struct {
	// How healthy is it? Answered by status and message.
	Health *unstructured.Unstructured `json:"health"`
	// Which actions are offered? Answered by their names.
	Actions *unstructured.Unstructured `json:"actions"`
	// What would an action change? Answered by a merge patch.
	Action *struct {
		Name   string                     `json:"name"`
		Object *unstructured.Unstructured `json:"object"`
	} `json:"action"`
	// Is what lives OutOfSync with what Git says? Answered by whether it is, and if so with what it would become.
	Diff *struct {
		Git  *unstructured.Unstructured `json:"git"`
		Live *unstructured.Unstructured `json:"live"`
	} `json:"diff"`
}

func main() {
	logrus.SetOutput(os.Stderr)
	logrus.SetLevel(logrus.WarnLevel)
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: argocd ARGOCD-CM.YAML")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "argocd:", err)
		os.Exit(1)
	}
}

func run(config string, in io.Reader, out io.Writer) error {
	argo, err := configured(config)
	if err != nil {
		return err
	}
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	failed := false
	for {
		var asked request
		if err := decoder.Decode(&asked); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		answer, err := argo.answer(asked)
		if err != nil {
			failed = true
			answer = map[string]string{"error": err.Error()}
		}
		if err := encoder.Encode(answer); err != nil {
			return err
		}
	}
	if failed {
		return errors.New("not every request was answered")
	}
	return nil
}

// argo is Argo CD as a ConfigMap configures it.
type argo map[string]v1alpha1.ResourceOverride

// configured reads a ConfigMap as Argo CD does.
func configured(file string) (argo, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var config corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	secret := corev1.Secret{}
	secret.Name, secret.Namespace, secret.Labels = "argocd-secret", config.Namespace, config.Labels
	return settings.NewSettingsManager(ctx, fake.NewClientset(&config, &secret), config.Namespace).GetResourceOverrides()
}

func (argo argo) answer(asked request) (any, error) {
	switch {
	case asked.Health != nil:
		return argo.health(asked.Health)
	case asked.Actions != nil:
		return argo.actions(asked.Actions)
	case asked.Action != nil:
		return argo.action(asked.Action.Name, asked.Action.Object)
	case asked.Diff != nil:
		return argo.diff(asked.Diff.Git, asked.Diff.Live)
	}
	return nil, errors.New("nothing is asked")
}

func (argo argo) health(object *unstructured.Unstructured) (*health.HealthStatus, error) {
	return health.GetResourceHealth(object, lua.ResourceHealthOverrides(argo))
}

// actions gives the names of the actions that the user interface offers.
func (argo argo) actions(object *unstructured.Unstructured) ([]string, error) {
	vm := lua.VM{ResourceOverrides: argo}
	scripts, err := vm.GetResourceActionDiscovery(object)
	if err != nil {
		return nil, err
	}
	available, err := vm.ExecuteResourceActionDiscovery(object, scripts)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, action := range available {
		if !action.Disabled {
			names = append(names, action.Name)
		}
	}
	sort.Strings(names)
	return names, nil
}

// action gives the merge patch that Argo CD's server sends for an action.
func (argo argo) action(name string, object *unstructured.Unstructured) (json.RawMessage, error) {
	vm := lua.VM{ResourceOverrides: argo}
	action, err := vm.GetResourceAction(object, name)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	impacted, err := vm.ExecuteResourceAction(object, action.ActionLua, nil)
	if err != nil {
		return nil, err
	}
	if len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
		return nil, fmt.Errorf("action %s isn't one patch", name)
	}
	after, err := json.Marshal(impacted[0].UnstructuredObj)
	if err != nil {
		return nil, err
	}
	return jsonpatch.CreateMergePatch(before, after)
}

type difference struct {
	OutOfSync bool            `json:"outOfSync"`
	Becomes   json.RawMessage `json:"becomes,omitempty"`
}

// diff is the comparison that Argo CD makes by default: three-way, by the last applied configuration.
func (argo argo) diff(git, live *unstructured.Unstructured) (*difference, error) {
	config, err := diff.NewDiffConfigBuilder().
		WithDiffSettings(nil, argo, false, normalizers.IgnoreNormalizerOpts{}).
		WithNoCache().
		Build()
	if err != nil {
		return nil, err
	}
	result, err := diff.StateDiff(live, git, config)
	if err != nil || !result.Modified {
		return &difference{}, err
	}
	return &difference{OutOfSync: true, Becomes: result.PredictedLive}, nil
}
