// Upstream's answers for the patch engines and quantities: one JSON request per line in, one JSON answer per line out.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
)

type step struct {
	Op      string         `json:"op"`
	Object  map[string]any `json:"object"`
	Manager string         `json:"manager"`
	Force   bool           `json:"force"`
}

type request struct {
	What     string         `json:"what"`
	Group    string         `json:"group"`
	Version  string         `json:"version"`
	Kind     string         `json:"kind"`
	Steps    []step         `json:"steps"`
	Original map[string]any `json:"original"`
	Patch    map[string]any `json:"patch"`
	Text     string         `json:"text"`
}

type answer struct {
	Value  any    `json:"value,omitempty"`
	Values []any  `json:"values,omitempty"`
	Error  string `json:"error,omitempty"`
}

var converter managedfields.TypeConverter

// manage runs the steps on one object and answers with the object, or the error, after each.
func manage(r request, gvk schema.GroupVersionKind) answer {
	manager := managedfieldstest.NewFakeFieldManager(converter, gvk)
	empty := func() *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetGroupVersionKind(gvk)
		return u
	}
	var live runtime.Object = empty()
	out := answer{Values: []any{}}
	for _, s := range r.Steps {
		object := &unstructured.Unstructured{Object: s.Object}
		var next runtime.Object
		var err error
		if s.Op == "apply" {
			next, err = manager.Apply(live.DeepCopyObject(), object, s.Manager, s.Force)
		} else {
			next, err = manager.Update(live.DeepCopyObject(), object, s.Manager)
		}
		if err != nil {
			code := 500
			if status, ok := err.(errors.APIStatus); ok {
				code = int(status.Status().Code)
			}
			out.Values = append(out.Values, map[string]any{"error": err.Error(), "code": code})
			continue
		}
		live = next
		out.Values = append(out.Values, live.DeepCopyObject().(*unstructured.Unstructured).Object)
	}
	return out
}

func reply(r request) (out answer) {
	defer func() {
		if p := recover(); p != nil {
			out = answer{Error: fmt.Sprint("panic: ", p)}
		}
	}()
	gvk := schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
	switch r.What {
	case "manage":
		return manage(r, gvk)
	case "strategic":
		object, err := scheme.Scheme.New(gvk)
		if err != nil {
			return answer{Error: err.Error()}
		}
		patched, err := strategicpatch.StrategicMergeMapPatch(r.Original, r.Patch, object)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Value: patched}
	case "quantity":
		q, err := resource.ParseQuantity(r.Text)
		if err != nil {
			return answer{Error: err.Error()}
		}
		fresh := q.DeepCopy()
		fresh.Neg()
		fresh.Neg()
		return answer{Values: []any{q.String(), fresh.String(), q.Value(), q.MilliValue()}}
	case "selector":
		s, err := labels.Parse(r.Text)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{Value: s.String()}
	}
	return answer{Error: "unknown request " + r.What}
}

func main() {
	converter = applyconfigurations.NewTypeConverter(scheme.Scheme)
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		b, err := json.Marshal(reply(r))
		if err != nil {
			b, _ = json.Marshal(answer{Error: err.Error()})
		}
		out.Write(append(b, '\n'))
		out.Flush()
	}
}
