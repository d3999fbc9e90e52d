// schema-gen writes the tables of facts that lib/schema is built from: one row per field of every API type and one
// row per served resource. Go and protobuf facts come from reflection over upstream's schemes; list types, keys,
// defaults and enums from upstream's generated OpenAPI definitions; resources from its discovery documents and storage
// configuration. The output is deterministic and committed.
package main

import (
	"flag"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	out := flag.String("out", "../../lib/schema/data", "directory of the tables")
	flag.Parse()

	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		log.Fatalf("find the sources of k8s.io/kubernetes: %v", err)
	}
	resources, err := resourceRows(filepath.Join(strings.TrimSpace(string(dir)), "api", "discovery"))
	if err != nil {
		log.Fatal(err)
	}
	types, err := typeTable(resources)
	if err != nil {
		log.Fatal(err)
	}
	write(filepath.Join(*out, "resources.tsv"), resourceTable(resources))
	write(filepath.Join(*out, "types.tsv"), types)
}

func write(path, text string) {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		log.Fatal(err)
	}
}
