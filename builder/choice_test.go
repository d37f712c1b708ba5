//go:build linux

package builder_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/isolation"
)

// withoutNamespaces is the choice to have no namespaces, which is what there is where nothing is allowed.
var withoutNamespaces = isolation.Choice{Most: isolation.Chroot}

// Without namespaces and mounts, and without any rights as an ordinary user, an image is made of the same layers:
// owners and modes too that this user cannot give a file.
func TestSameLayersWithoutNamespaces(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"a": "a", "d/b": "b", "d/e/": "", "link": "-> a"})
	ok(t, os.Chmod(dir+"/d/b", 0o600))
	at := time.Unix(1_700_000_000, 0)
	build := func(opts builder.Options) []digest.Digest {
		opts.Root = tempDir(t)
		b := openIn(t, opts)
		from := builder.StageOptions{LatestTime: &at, AllTimes: true, WorkdirTime: &at}
		first := stage(t, b, builder.Scratch, from)
		owned := builder.Dir(dir).Chown("1000:1001").Chmod("4711")
		ok(t, errOf(first.Copy(t.Context(), "/own/", owned)))
		ok(t, errOf(first.Copy(t.Context(), "/", builder.Dir(dir))))
		s := stage(t, b, builder.Scratch, from)
		ok(t, errOf(s.Copy(t.Context(), "/from/", first.Path("/own"))))
		ok(t, errOf(s.Workdir(t.Context(), "/work/dir", "")))
		ok(t, errOf(s.Copy(t.Context(), "/from/d", builder.Dir(dir))))
		img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
		ok(t, err)
		detail, err := b.Inspect(t.Context(), img.ID)
		ok(t, err)
		info, err := b.Info(t.Context())
		ok(t, err)
		if want := map[bool]string{true: "tree", false: "overlay"}[opts.Isolation == withoutNamespaces]; info.Driver != want {
			t.Errorf("with %+v the driver is %s", opts.Isolation, info.Driver)
		}
		return detail.Layers
	}
	want, got := build(builder.Options{}), build(builder.Options{Isolation: withoutNamespaces})
	if len(want) != 3 || !slices.Equal(got, want) {
		t.Errorf("the layers are %s, with namespaces %s", got, want)
	}
}

// A Builder says how far commands are kept apart, and is not opened where that is less than is required.
func TestChoice(t *testing.T) {
	t.Parallel()
	b := open(t)
	if level, err := b.Isolation(); level != isolation.Full || err != nil {
		t.Errorf("%s, %v", level, err)
	}
	ok(t, b.Close())
	b = openIn(t, builder.Options{Root: tempDir(t), Isolation: isolation.Choice{Least: isolation.Full, Most: isolation.Full}})
	ok(t, b.Close())
	for _, c := range []isolation.Choice{{Least: isolation.Full, Most: isolation.Chroot}, {Least: 9}, {Most: -1}} {
		_, err := builder.Open(t.Context(), builder.Options{Root: tempDir(t), Isolation: c})
		is(t, err, builder.ErrInvalid)
	}
	b = openIn(t, builder.Options{Root: tempDir(t), Isolation: withoutNamespaces})
	level, err := b.Isolation()
	var host *builder.HostError
	if !errors.As(err, &host) || host.Missing == "" {
		t.Errorf("%s, %v", level, err)
	}
	if root := os.Geteuid() == 0; root != (level == isolation.Chroot) || !root && level != isolation.NoCommands {
		t.Errorf("the level is %s", level)
	}
	if os.Geteuid() == 0 {
		return
	}
	_, err = builder.Open(t.Context(), builder.Options{Root: tempDir(t), Isolation: isolation.Choice{Least: isolation.Chroot, Most: isolation.Chroot}})
	if !errors.As(err, &host) || !strings.Contains(host.Missing, "as is required (isolation chroot), but only as none: giving a command a root directory: ") || !strings.Contains(host.Fix, "CAP_SYS_CHROOT") {
		t.Errorf("%+v", err)
	}
}

// Where commands have no namespaces one warning says so, and where there can be none at all the command is refused;
// a sandbox with namespaces is refused too, and a network that would need one.
func TestCommandsWithoutNamespaces(t *testing.T) {
	t.Parallel()
	var warnings []string
	b := openIn(t, builder.Options{Root: tempDir(t), Isolation: withoutNamespaces, Events: func(e event.Event) {
		if e.Kind == event.Warning {
			warnings = append(warnings, e.Text)
		}
	}})
	s := base(t, b)
	var host *builder.HostError
	refused := func(what string, o isolation.Options) {
		t.Helper()
		var out bytes.Buffer
		_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Isolation: o, Stdout: &out, Stderr: &out})
		if !errors.As(err, &host) || host.Missing == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if os.Geteuid() != 0 {
		refused("a command", isolation.Options{})
		if !strings.Contains(host.Missing, "commands cannot be run here: giving a command a root directory") || host.Fix == "" {
			t.Errorf("%+v", host)
		}
		return
	}
	refused("thread", isolation.Options{Sandbox: isolation.Thread})
	refused("oci", isolation.Options{Sandbox: isolation.OCI})
	refused("no network", isolation.Options{Network: isolation.Network{Mode: isolation.None}})
	refused("a private network", isolation.Options{Network: isolation.Network{Mode: isolation.Private}})
	run(t, s, "echo x >/x; chown 33:33 /x")
	equal(t, sh(t, s, "stat -c %u:%g /x"), "33:33\n")
	var told []string
	for _, w := range warnings {
		if strings.Contains(w, "not kept apart") {
			told = append(told, w)
		}
	}
	if len(told) != 1 {
		t.Errorf("warnings: %q", warnings)
	}
}
