//go:build linux && (amd64 || arm64)

package notify

import (
	"fmt"
	"testing"
)

// BenchmarkCalls gives what a call costs a command, with the filter and without.
func BenchmarkCalls(b *testing.B) {
	p := newPlace(b)
	p.asks(b)
	for _, what := range []string{"open /etc/f", "open etc/f", "stat /etc/f", "open /dev/null", "open /etc/f threads"} {
		for _, p.off = range []bool{true, false} {
			for _, p.user = range users {
				b.Run(fmt.Sprintf("%s/%s/filter=%v", what, p.user, !p.off), func(b *testing.B) {
					out, err := p.run(b, "/bin/sh", "-c", fmt.Sprintf("asks %s %d", what, b.N))
					if err != nil {
						b.Error(out, err)
					}
				})
			}
		}
	}
}
