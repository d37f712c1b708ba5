//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The world of all tests, and what is the same wherever it is built.
var (
	shared  *world
	digests = map[string]string{} // of the image of a context, as it came out first
)

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "environments:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp(m *testing.M) (code int, err error) {
	checkout, err := filepath.Abs("../..")
	if err != nil {
		return 1, err
	}
	if shared, err = newWorld(context.Background(), checkout); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, shared.close()) }()
	if err := writeContexts(filepath.Join(shared.dir, "contexts")); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// A visit is a test in one environment.
type visit struct {
	t *testing.T
	*place
	contexts string
}

// enter makes an environment that ends with the test.
func enter(t *testing.T, name string) *visit {
	t.Helper()
	e, err := find(name)
	if err != nil {
		t.Fatal(err)
	}
	contexts := filepath.Join(shared.dir, "contexts")
	p, err := shared.start(e, "--volume", contexts+":/contexts:ro")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	v := &visit{t: t, place: p, contexts: "/contexts"}
	if e.setpriv != nil {
		v.contexts = contexts
	}
	return v
}

// run runs a command that succeeds and returns its standard output.
func (v *visit) run(args ...string) string {
	v.t.Helper()
	stdout, stderr, code := v.try(args...)
	if code != 0 {
		v.t.Fatalf("%s: %s: exit status %d\n%s%s", v.name, strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// timeLimit is for one command.
const timeLimit = 5 * time.Minute

// try runs a command.
func (v *visit) try(args ...string) (stdout, stderr string, code int) {
	v.t.Helper()
	ctx, stop := context.WithTimeout(v.t.Context(), timeLimit)
	defer stop()
	cmd := v.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !exit.Exited()) {
		v.t.Fatalf("%s: %s: %v\n%s", v.name, strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(out.String()), errs.String(), cmd.ProcessState.ExitCode()
}

// build builds a context with the same times everywhere and returns the digest of the image and
// what was said.
func (v *visit) build(context string, flags ...string) (digest, said string) {
	v.t.Helper()
	metadata := v.temp("metadata.json")
	args := append([]string{"oakum", "build", "--source-date-epoch", "1700000000", "--rewrite-timestamp",
		"--metadata-file", metadata, "--tag", "localhost/" + context}, flags...)
	_, said, code := v.try(append(args, v.contexts+"/"+context)...)
	if code != 0 {
		v.t.Fatalf("%s: building %s: exit status %d\n%s", v.name, context, code, said)
	}
	var made struct {
		Digest string `json:"containerimage.digest"`
	}
	if err := json.Unmarshal([]byte(v.run("cat", metadata)), &made); err != nil || made.Digest == "" {
		v.t.Fatalf("%s: the metadata of %s: %v, digest %q", v.name, context, err, made.Digest)
	}
	v.run("rm", metadata)
	return made.Digest, said
}

// temp is the name of a file where this user may write.
func (v *visit) temp(name string) string {
	v.t.Helper()
	return v.run("sh", "-c", `echo "${TMPDIR:-/tmp}"`) + "/" + name
}

// same builds a context twice: first as everywhere else, then with every step from the cache.
func (v *visit) same(context string) {
	v.t.Helper()
	digest, said := v.build(context)
	if first, ok := digests[context]; !ok {
		digests[context] = digest
	} else if digest != first {
		v.t.Errorf("%s: %s is %s, and elsewhere %s\n%s", v.name, context, digest, first, said)
	}
	again, said := v.build(context)
	if again != digest {
		v.t.Errorf("%s: %s is %s when it is built again, and was %s", v.name, context, again, digest)
	}
	v.checkCached(said)
}

// checkCached checks that a build says of each of its steps that it was in the cache.
func (v *visit) checkCached(said string) {
	v.t.Helper()
	for line := range strings.Lines(said) {
		if strings.Contains(line, "] RUN ") || strings.Contains(line, "] COPY ") {
			step, _, _ := strings.Cut(line, " ")
			if !strings.Contains(said, step+" CACHED") {
				v.t.Errorf("%s: built again, this step runs again: %s", v.name, line)
			}
		}
	}
}

// registry is the address of the registry, as the place sees it.
func (v *visit) registry() string {
	_, port, _ := net.SplitHostPort(shared.registry)
	if v.environment.setpriv != nil || v.hostNetwork {
		return "127.0.0.1:" + port
	}
	return containerLoopback + ":" + port
}
