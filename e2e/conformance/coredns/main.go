// Command coredns is upstream's CoreDNS with its usual plugins: some test images carry it as a name server for tests.
package main

import (
	_ "github.com/coredns/coredns/core/plugin"
	"github.com/coredns/coredns/coremain"
)

func main() { coremain.Run() }
