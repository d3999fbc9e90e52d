package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serveroptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"

	apiextensionsinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiregistrationinstall "k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	"k8s.io/kubernetes/pkg/kubeapiserver"
)

// scheme knows the kinds of the three servers that make up kube-apiserver.
var scheme = func() *runtime.Scheme {
	apiextensionsinstall.Install(legacyscheme.Scheme)
	apiregistrationinstall.Install(legacyscheme.Scheme)
	return legacyscheme.Scheme
}()

type served struct {
	gv             schema.GroupVersion
	api            metav1.APIResource
	list           string
	storageVersion string
	prefix         string
	subresources   []metav1.APIResource
}

// resourceRows are the resources of the versions that are on by default.
func resourceRows(discovery string) ([]*served, error) {
	enabled := []schema.GroupVersion{
		{Group: "apiextensions.k8s.io", Version: "v1"},
		{Group: "apiregistration.k8s.io", Version: "v1"},
	}
	for gv, on := range controlplane.DefaultAPIResourceConfigSource().GroupVersionConfigs {
		if on {
			enabled = append(enabled, gv)
		}
	}
	sort.Slice(enabled, func(i, j int) bool { return enabled[i].String() < enabled[j].String() })

	options := serveroptions.NewEtcdOptions(storagebackend.NewDefaultConfig("/registry", nil))
	config := kubeapiserver.NewStorageFactoryConfig()
	config.APIResourceConfig = controlplane.DefaultAPIResourceConfigSource()
	storage, err := config.Complete(options).New()
	if err != nil {
		return nil, err
	}

	var rows []*served
	for _, gv := range enabled {
		name := "apis__" + gv.Group + "__" + gv.Version + ".json"
		if gv.Group == "" {
			name = "api__" + gv.Version + ".json"
		}
		text, err := os.ReadFile(filepath.Join(discovery, name))
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		var list metav1.APIResourceList
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		byName := map[string]*served{}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") {
				continue
			}
			row := &served{gv: gv, api: r}
			sort.Strings(row.api.Verbs)
			if has(r.Verbs, "list") {
				row.list = r.Kind + "List"
			}
			gr := gv.WithResource(r.Name).GroupResource()
			switch {
			case !has(r.Verbs, "get") || r.Name == "componentstatuses":
			case gv.Group == "apiextensions.k8s.io" || gv.Group == "apiregistration.k8s.io":
				row.prefix, row.storageVersion = gv.Group+"/"+r.Name, gv.String()
			default:
				row.prefix = storage.ResourcePrefix(gr)
				stored := gr
				if r.Name == "events" {
					stored.Group = "" // Both groups share the storage.
				}
				version, err := storage.ResourceEncodingConfig.StorageEncodingFor(stored)
				if err != nil {
					return nil, fmt.Errorf("storage of %s: %w", gr, err)
				}
				row.storageVersion = version.String()
				if !has(names(enabled), row.storageVersion) {
					row.storageVersion = gv.String() // Stored in a version that is off by default, for downgrades.
				}
			}
			byName[r.Name] = row
			rows = append(rows, row)
		}
		for _, r := range list.APIResources {
			if base, _, ok := strings.Cut(r.Name, "/"); ok && byName[base] != nil {
				if r.Version == "" {
					r.Group, r.Version = gv.Group, gv.Version
				}
				sort.Strings(r.Verbs)
				byName[base].subresources = append(byName[base].subresources, r)
			}
		}
	}
	return rows, nil
}

func names(versions []schema.GroupVersion) []string {
	var s []string
	for _, v := range versions {
		s = append(s, v.String())
	}
	return s
}

func has(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// resourceTable prints one line per resource, followed by its subresources, which start with a slash.
func resourceTable(rows []*served) string {
	var b strings.Builder
	b.WriteString("# Written by hack/schema-gen. group/version, resource, singular, kind, list kind, scope, verbs, short names, categories, storage version, storage prefix;\n")
	b.WriteString("# below it, its subresources: /name, group/version, kind, verbs.\n")
	for _, r := range rows {
		scope := "Cluster"
		if r.api.Namespaced {
			scope = "Namespaced"
		}
		line(&b, r.gv.String(), r.api.Name, r.api.SingularName, r.api.Kind, r.list, scope, strings.Join(r.api.Verbs, ","),
			strings.Join(r.api.ShortNames, ","), strings.Join(r.api.Categories, ","), r.storageVersion[strings.LastIndex(r.storageVersion, "/")+1:], r.prefix)
		sort.Slice(r.subresources, func(i, j int) bool { return r.subresources[i].Name < r.subresources[j].Name })
		for _, s := range r.subresources {
			gv := schema.GroupVersion{Group: s.Group, Version: s.Version}
			line(&b, strings.TrimPrefix(s.Name, r.api.Name), gv.String(), s.Kind, strings.Join(s.Verbs, ","))
		}
	}
	return b.String()
}

// line writes tab-separated columns, without the empty ones at the end.
func line(b *strings.Builder, columns ...string) {
	b.WriteString(strings.TrimRight(strings.Join(columns, "\t"), "\t"))
	b.WriteByte('\n')
}
