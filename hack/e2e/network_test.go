//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestPrivateNetwork installs a Debian package, as who the test runs as, in the network that a RUN has when it
// asks for nothing. Without a network that fails. What was installed pings, as root and as another user.
func TestPrivateNetwork(t *testing.T) {
	h := newHome(t)
	const install = "RUN apt-get update && apt-get install -y --no-install-recommends iputils-ping\n"
	context := h.context("apt", "FROM debian\nRUN test $(ls -d /sys/class/net/* | wc -l) = 2\n"+install+"RUN ping -c 1 127.0.0.1\nUSER 1000\nRUN ping -c 1 localhost\n")
	h.run(oakum, "build", "-t", "localhost/pings", context)
	_, stderr, err := h.try(oakum, "build", "--network=none", h.context("apart", "FROM debian\n"+install))
	if err == nil || !strings.Contains(stderr, "Temporary failure resolving") {
		t.Errorf("without a network: %v\n%s", err, stderr)
	}
}
