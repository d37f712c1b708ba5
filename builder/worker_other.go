//go:build !linux || otheros

package builder

import (
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// look looks at nothing where there are no stores.
func (*Builder) look(protocol.Hello, beginner) wire.Conn { return nil }

func (*Builder) here() string { return "" }
