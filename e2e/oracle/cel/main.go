// Upstream's answers for CEL expressions: one JSON request per line in, one JSON answer per line out.
package main

import (
	"bufio"
	stdjson "encoding/json"
	"fmt"
	"os"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

// A request names an expression; `vars` are bound as dynamic values.
type request struct {
	Expr string         `json:"expr"`
	Vars map[string]any `json:"vars"`
	// Rule asks for the estimated cost of a rule instead.
	Rule string `json:"rule"`
}

type answer struct {
	Value   string `json:"value,omitempty"`
	Type    string `json:"type,omitempty"`
	Cost    uint64 `json:"cost,omitempty"`
	Compile string `json:"compile,omitempty"`
	Error   string `json:"error,omitempty"`
	MaxCost uint64 `json:"maxCost,omitempty"`
}

// show prints a value the same way whatever its Go type.
func show(v ref.Val) string {
	switch t := v.(type) {
	case types.String:
		return fmt.Sprintf("%q", string(t))
	case types.Bytes:
		return fmt.Sprintf("b%q", string(t))
	case types.Uint:
		return fmt.Sprintf("%du", uint64(t))
	case types.Null:
		return "null"
	case *types.Optional:
		if t.HasValue() {
			return "optional(" + show(t.GetValue()) + ")"
		}
		return "optional.none"
	case traits.Lister:
		out := "["
		for i := t.Iterator(); i.HasNext() == types.True; {
			if out != "[" {
				out += ", "
			}
			out += show(i.Next())
		}
		return out + "]"
	case traits.Mapper:
		return fmt.Sprintf("map of %v", t.Size())
	case types.Timestamp, types.Duration:
		return fmt.Sprint(t.ConvertToType(types.StringType))
	case *types.Type:
		return "type " + t.TypeName()
	case types.Bool, types.Int, types.Double:
		return fmt.Sprint(v.Value())
	}
	return "a " + v.Type().TypeName()
}

func main() {
	base := environment.MustBaseEnvSet(version.MajorMinor(1, 36))
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := stdjson.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			panic(err)
		}
		if r.Rule != "" {
			var a answer
			a.MaxCost, a.Compile = estimate(base, r.Rule)
			if err := out.Encode(a); err != nil {
				panic(err)
			}
			continue
		}
		opts := []cel.EnvOption{}
		for name := range r.Vars {
			opts = append(opts, cel.Variable(name, cel.DynType))
		}
		set, err := base.Extend(environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: opts})
		if err != nil {
			panic(err)
		}
		env := set.StoredExpressionsEnv()
		var a answer
		ast, issues := env.Compile(r.Expr)
		if issues != nil {
			a.Compile = issues.String()
		} else {
			a.Type = ast.OutputType().String()
			program, err := env.Program(ast, cel.CostLimit(100000000), cel.CostTracking(&library.CostEstimator{}))
			if err != nil {
				a.Error = "program: " + err.Error()
			} else {
				v, details, err := program.Eval(r.Vars)
				if details != nil && details.ActualCost() != nil {
					a.Cost = *details.ActualCost()
				}
				if err != nil {
					a.Error = err.Error()
				} else {
					a.Value = show(v)
				}
			}
		}
		if err := out.Encode(a); err != nil {
			panic(err)
		}
	}
}
