// Command etcd is upstream's etcd server: the image that the sample API server's test runs beside it.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
