// rbac-gen prints the default RBAC policy of the Kubernetes version it is built against, as the JSON that
// manifests/rbac/bootstrap-policy.json holds. Run it inside a Go module that requires k8s.io/kubernetes:
//
//	go run path/to/rbac-gen/main.go > manifests/rbac/bootstrap-policy.json
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sort"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// compact drops nulls, empty creation times and the type, which the list tells.
func compact(v any) any {
	switch t := v.(type) {
	case map[string]any:
		for k, e := range t {
			if e == nil {
				delete(t, k)
				continue
			}
			t[k] = compact(e)
		}
	case []any:
		for i := range t {
			t[i] = compact(t[i])
		}
	}
	return v
}

func list[T any](out *bytes.Buffer, name string, items []T, last bool) {
	fmt.Fprintf(out, "%q: [\n", name)
	for i, item := range items {
		raw, err := json.Marshal(item)
		if err != nil {
			panic(err)
		}
		var tree any
		if err := json.Unmarshal(raw, &tree); err != nil {
			panic(err)
		}
		line, _ := json.Marshal(compact(tree))
		out.Write(line)
		if i+1 < len(items) {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
	}
	out.WriteString("]")
	if !last {
		out.WriteByte(',')
	}
	out.WriteByte('\n')
}

func namespaced[T any](in map[string][]T) []T {
	var names []string
	for ns := range in {
		names = append(names, ns)
	}
	sort.Strings(names)
	var all []T
	for _, ns := range names {
		all = append(all, in[ns]...)
	}
	return all
}

func main() {
	var out bytes.Buffer
	out.WriteString("{\n")
	var roles []rbacv1.ClusterRole
	roles = append(append(roles, bootstrappolicy.ClusterRoles()...), bootstrappolicy.ControllerRoles()...)
	var bindings []rbacv1.ClusterRoleBinding
	bindings = append(append(bindings, bootstrappolicy.ClusterRoleBindings()...), bootstrappolicy.ControllerRoleBindings()...)
	list(&out, "clusterRoles", roles, false)
	list(&out, "clusterRoleBindings", bindings, false)
	list(&out, "roles", namespaced(bootstrappolicy.NamespaceRoles()), false)
	list(&out, "roleBindings", namespaced(bootstrappolicy.NamespaceRoleBindings()), false)
	list(&out, "nodeRules", bootstrappolicy.NodeRules(), true)
	out.WriteString("}\n")
	if _, err := os.Stdout.Write(out.Bytes()); err != nil {
		panic(err)
	}
}
