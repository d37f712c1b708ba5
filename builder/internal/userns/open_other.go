//go:build !linux || otheros

package userns

import (
	"context"
	"fmt"
	"runtime"
)

func open(context.Context, Options) (*Process, error) {
	return nil, &Fault{
		Missing: fmt.Sprintf("images are built, and kept in a store, on Linux only, and this is %s", runtime.GOOS),
		Fix:     "run it in a Linux machine or container; Dockerfiles can be checked here",
	}
}
