// vectors writes objects as upstream marshals them: apiVersion, kind, JSON and base64 of protobuf per line. Each kind is
// there twice: empty, and with every field set.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"math/rand"
	"os"
	"reflect"
	"sort"
	"time"

	apiextensionsinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiregistrationinstall "k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/controlplane"
)

func main() {
	scheme := legacyscheme.Scheme
	apiextensionsinstall.Install(scheme)
	apiregistrationinstall.Install(scheme)
	encoder := protobuf.NewSerializer(scheme, scheme)
	seen := map[schema.GroupVersionKind]bool{}
	for _, line := range bytes.Split(must(os.ReadFile("../../lib/schema/data/types.tsv")), []byte("\n")) {
		columns := bytes.Split(line, []byte("\t"))
		if len(line) == 0 || line[0] != '=' || len(columns) < 2 || len(columns[1]) == 0 {
			continue
		}
		for _, gvk := range bytes.Split(columns[1], []byte(",")) {
			i := bytes.LastIndexByte(gvk, '/')
			gv := must(schema.ParseGroupVersion(string(gvk[:i])))
			seen[gv.WithKind(string(gvk[i+1:]))] = true
		}
	}
	var kinds []schema.GroupVersionKind
	for gvk := range seen {
		if scheme.Recognizes(gvk) {
			kinds = append(kinds, gvk)
		}
	}
	sort.Slice(kinds, func(i, j int) bool { return kinds[i].String() < kinds[j].String() })
	for _, gvk := range kinds {
		for _, full := range []bool{false, true} {
			obj := must(scheme.New(gvk))
			if full {
				f := filler{rand: rand.New(rand.NewSource(1))}
				f.fill(reflect.ValueOf(obj).Elem(), 0)
			}
			obj.GetObjectKind().SetGroupVersionKind(gvk)
			var buf bytes.Buffer
			if err := encoder.Encode(obj, &buf); err != nil {
				log.Printf("%s: %v", gvk, err)
				continue
			}
			fmt.Printf("%s\t%s\n", must(json.Marshal(obj)), base64.StdEncoding.EncodeToString(buf.Bytes()))
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

type filler struct{ rand *rand.Rand }

func (f *filler) fill(v reflect.Value, depth int) {
	switch p := v.Addr().Interface().(type) {
	case *metav1.Time:
		*p = metav1.Unix(f.rand.Int63n(4e9), 0)
		return
	case *metav1.MicroTime:
		*p = metav1.NewMicroTime(time.Unix(f.rand.Int63n(4e9), f.rand.Int63n(1e6)*1000))
		return
	case *metav1.Duration:
		p.Duration = time.Duration(f.rand.Int63n(1e15))
		return
	case *resource.Quantity:
		*p = resource.MustParse(fmt.Sprintf("%dMi", f.rand.Intn(5000)))
		_ = p.String()
		return
	case *intstr.IntOrString:
		if f.rand.Intn(2) == 0 {
			*p = intstr.FromInt32(f.rand.Int31())
		} else {
			*p = intstr.FromString("50%")
		}
		return
	case *runtime.RawExtension:
		p.Raw = []byte(`{"a":1}`)
		return
	case *metav1.FieldsV1:
		p.Raw = []byte(`{"f:metadata":{}}`)
		return
	case *metav1.TypeMeta:
		return
	case *apiextensionsv1.JSON:
		p.Raw = []byte(`{"default":[1,2]}`)
		return
	case *apiextensionsv1.JSONSchemaPropsOrBool:
		p.Allows = true
		if depth < 7 {
			p.Schema = &apiextensionsv1.JSONSchemaProps{Type: "object"}
		}
		return
	case *apiextensionsv1.JSONSchemaPropsOrArray:
		p.Schema = &apiextensionsv1.JSONSchemaProps{Type: "string", ExclusiveMaximum: true}
		return
	case *apiextensionsv1.JSONSchemaPropsOrStringArray:
		p.Property = []string{"a", "b"}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if depth > 14 || (depth > 6 && v.Type() == reflect.TypeFor[*apiextensionsv1.JSONSchemaProps]()) {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				f.fill(v.Field(i), depth+1)
			}
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d", f.rand.Intn(1000)))
	case reflect.Bool:
		v.SetBool(f.rand.Intn(2) == 0)
	case reflect.Int32:
		v.SetInt(int64(int32(f.rand.Uint32())))
	case reflect.Int64:
		v.SetInt(int64(f.rand.Uint64()))
	case reflect.Float64:
		v.SetFloat(float64(f.rand.Intn(100)) + 0.5)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte{1, 2, 255})
			return
		}
		if depth > 9 && v.Type().Elem() == reflect.TypeFor[apiextensionsv1.JSONSchemaProps]() {
			return
		}
		n := 1
		if v.Type().Elem().Kind() == reflect.String {
			n = 2
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		if depth > 6 && v.Type().Elem() == reflect.TypeFor[apiextensionsv1.JSONSchemaProps]() {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(k, depth+1)
			f.fill(e, depth+1)
			v.SetMapIndex(k, e)
		}
	}
}
