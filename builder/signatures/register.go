//go:build linux && containers_image_openpgp

package signatures

import (
	_ "github.com/oakum-build/oakum/builder/internal/awaited/signatures"
	"github.com/oakum-build/oakum/builder/internal/worker"
	_ "github.com/oakum-build/oakum/storage/signatures" // which registers itself
)

func init() { worker.Arrived() }
