package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"k8s.io/kubernetes/pkg/generated/openapi"
)

// more are the kinds that no resource serves as its own: options, reviews, discovery, and what webhooks exchange.
var more = map[schema.GroupVersion][]any{
	{Version: "v1"}: {
		metav1.Status{}, metav1.APIVersions{}, metav1.APIGroupList{}, metav1.APIGroup{}, metav1.APIResourceList{},
		corev1.List{}, corev1.PodStatusResult{}, corev1.RangeAllocation{}, corev1.SerializedReference{},
		corev1.PodLogOptions{}, corev1.PodExecOptions{}, corev1.PodAttachOptions{}, corev1.PodPortForwardOptions{},
		corev1.PodProxyOptions{}, corev1.NodeProxyOptions{}, corev1.ServiceProxyOptions{}, corev1.Binding{},
	},
	{Group: "meta.k8s.io", Version: "v1"}: {
		metav1.WatchEvent{}, metav1.ListOptions{}, metav1.GetOptions{}, metav1.DeleteOptions{}, metav1.CreateOptions{},
		metav1.UpdateOptions{}, metav1.PatchOptions{}, metav1.Table{}, metav1.TableOptions{},
		metav1.PartialObjectMetadata{}, metav1.PartialObjectMetadataList{},
	},
	{Group: "admission.k8s.io", Version: "v1"}:      {admissionv1.AdmissionReview{}},
	{Group: "apiextensions.k8s.io", Version: "v1"}:  {apiextensionsv1.ConversionReview{}},
	{Group: "apidiscovery.k8s.io", Version: "v2"}:   {apidiscoveryv2.APIGroupDiscovery{}, apidiscoveryv2.APIGroupDiscoveryList{}},
	{Group: "audit.k8s.io", Version: "v1"}:          {auditv1.Event{}, auditv1.EventList{}, auditv1.Policy{}, auditv1.PolicyList{}},
	{Group: "authentication.k8s.io", Version: "v1"}: {authenticationv1.TokenRequest{}},
	{Group: "autoscaling", Version: "v1"}:           {autoscalingv1.Scale{}},
	{Group: "policy", Version: "v1"}:                {policyv1.Eviction{}},
}

// leaves are the types that marshal themselves.
var leaves = map[reflect.Type]string{
	reflect.TypeFor[metav1.Time]():          "Time",
	reflect.TypeFor[metav1.MicroTime]():     "MicroTime",
	reflect.TypeFor[metav1.Duration]():      "Duration",
	reflect.TypeFor[metav1.FieldsV1]():      "FieldsV1",
	reflect.TypeFor[resource.Quantity]():    "Quantity",
	reflect.TypeFor[intstr.IntOrString]():   "IntOrString",
	reflect.TypeFor[runtime.RawExtension](): "RawExtension",
	reflect.TypeFor[apiextensionsv1.JSON](): "JSON",
	reflect.TypeFor[runtime.Unknown]():      "RawExtension",

	reflect.TypeFor[apiextensionsv1.JSONSchemaPropsOrBool]():        "SchemaOrBool",
	reflect.TypeFor[apiextensionsv1.JSONSchemaPropsOrArray]():       "SchemaOrArray",
	reflect.TypeFor[apiextensionsv1.JSONSchemaPropsOrStringArray](): "SchemaOrStringArray",
}

type protoMessage interface{ Marshal() ([]byte, error) }

type generator struct {
	definitions map[string]common.OpenAPIDefinition
	rows        map[string]string
	kinds       map[string][]string
}

// typeTable prints every struct that the resources reach: a header line, then a line per field.
func typeTable(resources []*served) (string, error) {
	g := &generator{
		definitions: openapi.GetOpenAPIDefinitions(func(name string) spec.Ref { return spec.MustCreateRef(name) }),
		rows:        map[string]string{},
		kinds:       map[string][]string{},
	}
	roots := map[schema.GroupVersionKind]reflect.Type{}
	add := func(gvk schema.GroupVersionKind) error {
		if gvk.Kind == "" {
			return nil
		}
		t, ok := scheme.AllKnownTypes()[gvk]
		if !ok {
			return fmt.Errorf("%s is not registered", gvk)
		}
		roots[gvk] = t
		return nil
	}
	for _, r := range resources {
		for _, kind := range []string{r.api.Kind, r.list} {
			if err := add(r.gv.WithKind(kind)); err != nil {
				return "", err
			}
		}
		for _, s := range r.subresources {
			if err := add(schema.GroupVersionKind{Group: s.Group, Version: s.Version, Kind: s.Kind}); err != nil {
				return "", err
			}
		}
	}
	for gv, objects := range more {
		for _, o := range objects {
			t := reflect.TypeOf(o)
			roots[gv.WithKind(t.Name())] = t
		}
	}
	for gvk, t := range roots {
		name, err := g.walk(t)
		if err != nil {
			return "", fmt.Errorf("%s: %w", gvk, err)
		}
		g.kinds[name] = append(g.kinds[name], gvk.GroupVersion().String()+"/"+gvk.Kind)
	}

	var b strings.Builder
	b.WriteString("# Written by hack/schema-gen. A type: name, group/version/kind of objects, flags (a: atomic for apply), required fields not listed.\n")
	b.WriteString("# Below it its fields, inlined ones flattened: JSON name, type ([] list, {} map), flags (p pointer, o omitempty, z omitzero,\n")
	b.WriteString("# r required, w wrapped in a protobuf message), protobuf number (of the inlined message, too) and wire type (v varint, 4, 8, b),\n")
	b.WriteString("# list type (set, map:keys, atomic) or map type, patch strategy and merge key, default, enum, Go type where it has a name, Go fields that inline it.\n")
	var sorted []string
	for name := range g.rows {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	for _, name := range sorted {
		flags := ""
		if d, ok := g.definitions[name]; ok {
			if v, _ := d.Schema.Extensions.GetString("x-kubernetes-map-type"); v == "atomic" {
				flags = "a"
			}
		}
		sort.Strings(g.kinds[name])
		line(&b, "="+name, strings.Join(g.kinds[name], ","), flags)
		b.WriteString(g.rows[name])
	}
	return b.String(), nil
}

func modelName(t reflect.Type) string {
	if m, ok := reflect.Zero(t).Interface().(interface{ OpenAPIModelName() string }); ok {
		return m.OpenAPIModelName()
	}
	host, path, _ := strings.Cut(t.PkgPath(), "/")
	labels := strings.Split(host, ".")
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	return strings.Join(labels, ".") + "." + strings.ReplaceAll(path, "/", ".") + "." + t.Name()
}

// walk records a struct and all that it reaches, and gives its name.
func (g *generator) walk(t reflect.Type) (string, error) {
	name := modelName(t)
	if _, ok := g.rows[name]; ok {
		return name, nil
	}
	g.rows[name] = ""
	var b strings.Builder
	definition := g.definitions[name]
	if err := g.fields(&b, t, definition.Schema, "", ""); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	g.rows[name] = b.String()
	return name, nil
}

func (g *generator) fields(b *strings.Builder, t reflect.Type, s spec.Schema, parent, embedded string) error {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		tag := strings.Split(f.Tag.Get("json"), ",")
		if tag[0] == "-" {
			continue
		}
		proto := strings.Split(f.Tag.Get("protobuf"), ",")
		if tag[0] == "" {
			if !f.Anonymous && !has(tag, "inline") {
				return fmt.Errorf("field %s has no JSON name", f.Name)
			}
			inner := "-" // Not part of the message: TypeMeta travels in the envelope.
			if len(proto) > 1 {
				inner = proto[1] + "."
			}
			ft := f.Type
			if ft.Kind() == reflect.Pointer {
				return fmt.Errorf("field %s: inlined pointer", f.Name)
			}
			if err := g.fields(b, ft, s, parent+inner, embedded+f.Name+"."); err != nil {
				return err
			}
			continue
		}
		typ, wrapped, err := g.typeOf(f.Type)
		if err != nil {
			return fmt.Errorf("field %s: %w", f.Name, err)
		}
		flags := ""
		if f.Type.Kind() == reflect.Pointer {
			flags += "p"
		}
		if has(tag[1:], "omitempty") {
			flags += "o"
		}
		if has(tag[1:], "omitzero") {
			flags += "z"
		}
		if has(s.Required, tag[0]) {
			flags += "r"
		}
		if wrapped {
			flags += "w"
		}
		number := ""
		if len(proto) > 1 && !strings.HasPrefix(parent, "-") {
			wire, ok := map[string]string{"varint": "v", "bytes": "b", "fixed32": "4", "fixed64": "8"}[proto[0]]
			if !ok {
				return fmt.Errorf("field %s: wire type %s", f.Name, proto[0])
			}
			number = parent + proto[1] + wire
		}
		p := s.Properties[tag[0]]
		list, _ := p.Extensions.GetString("x-kubernetes-list-type")
		if keys, ok := p.Extensions["x-kubernetes-list-map-keys"]; ok {
			list += ":" + strings.Join(strs(keys), ",")
		}
		if m, ok := p.Extensions.GetString("x-kubernetes-map-type"); ok {
			list = m
		}
		patch := ""
		if v, ok := p.Extensions["x-kubernetes-patch-strategy"]; ok {
			patch = strings.Join(strs(v), ",")
		}
		if v, ok := p.Extensions.GetString("x-kubernetes-patch-merge-key"); ok {
			patch += ":" + v
		}
		value := ""
		if p.Default != nil {
			text, err := json.Marshal(p.Default)
			if err != nil {
				return err
			}
			value = string(text)
		}
		enum := p.Enum
		if enum == nil && p.Items != nil && p.Items.Schema != nil {
			enum = p.Items.Schema.Enum
		}
		goType := f.Type
		if goType.Kind() == reflect.Pointer {
			goType = goType.Elem()
		}
		named := ""
		if strings.Contains(goType.String(), ".") && basic(typ) {
			named = goType.String()
		}
		line(b, tag[0], typ, flags, number, list, patch, value, strings.Join(strs(enum), ","), named, strings.TrimSuffix(embedded, "."))
	}
	return nil
}

// basic tells types whose Go name does not follow from the table's.
func basic(typ string) bool {
	switch strings.TrimLeft(typ, "[]{}") {
	case "string", "bool", "int32", "int64", "float64", "bytes", "Quantity":
		return true
	}
	return false
}

func strs(v any) []string {
	var out []string
	switch v := v.(type) {
	case string:
		return []string{v}
	case []string:
		return v
	case []any:
		for _, x := range v {
			out = append(out, fmt.Sprint(x))
		}
	}
	return out
}

// typeOf names a type as the table does, and says whether protobuf wraps the list in it in a message.
func (g *generator) typeOf(t reflect.Type) (string, bool, error) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if leaf, ok := leaves[t]; ok {
		if strings.HasPrefix(leaf, "SchemaOr") {
			if _, err := g.walk(reflect.TypeFor[apiextensionsv1.JSONSchemaProps]()); err != nil {
				return "", false, err
			}
		}
		return leaf, false, nil
	}
	switch t.Kind() {
	case reflect.String:
		return "string", false, nil
	case reflect.Bool:
		return "bool", false, nil
	case reflect.Int32:
		return "int32", false, nil
	case reflect.Int64, reflect.Int:
		return "int64", false, nil
	case reflect.Float64:
		return "float64", false, nil
	case reflect.Interface:
		return "JSON", false, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes", false, nil
		}
		elem, _, err := g.typeOf(t.Elem())
		_, message := reflect.New(t).Interface().(protoMessage)
		return "[]" + elem, message, err
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return "", false, fmt.Errorf("map keyed by %s", t.Key())
		}
		elem, wrapped, err := g.typeOf(t.Elem())
		return "{}" + elem, wrapped, err
	case reflect.Struct:
		name, err := g.walk(t)
		return name, false, err
	}
	return "", false, fmt.Errorf("type %s has no place in the table", t)
}
