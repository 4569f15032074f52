// Command kstatus says what kstatus, the library by which Flux, kpt and `helm --wait` decide that an object is ready, makes of objects.
//
// Its input is a stream of JSON objects. For each it writes one line as soon as it knows it, so that a test may keep the program running
// and ask again and again: the status, a tab and the message. White space in a message becomes single spaces. An object for which the
// library has an error gets the status Error, and the exit code is 1 at the end; input that isn't JSON ends the program at once.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(in)
	failed := false
	for number := 1; ; number++ {
		var text json.RawMessage
		if err := decoder.Decode(&text); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("object %d: %w", number, err)
		}
		result, err := compute(text)
		if err != nil {
			failed = true
			result = &status.Result{Status: "Error", Message: err.Error()}
		}
		message := strings.Join(strings.Fields(result.Message), " ")
		if _, err := fmt.Fprintf(out, "%s\t%s\n", result.Status, message); err != nil {
			return err
		}
	}
	if failed {
		return errors.New("not every object has a status")
	}
	return nil
}

func compute(text []byte) (*status.Result, error) {
	// Its own decoder makes whole numbers int64. With encoding/json's float64 kstatus would find no observedGeneration.
	var object unstructured.Unstructured
	if err := object.UnmarshalJSON(text); err != nil {
		return nil, err
	}
	return status.Compute(&object)
}
