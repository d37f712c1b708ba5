package dockerfile

import (
	"errors"
	"reflect"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// TestIsolation checks how commands are kept apart: as the options say for all, and as an
// instruction says for itself.
func TestIsolation(t *testing.T) {
	network := func(mode isolation.Mode) isolation.Options {
		return isolation.Options{Network: isolation.Network{Mode: mode}}
	}
	tests := []struct {
		name, flags string
		run         RunOptions
		want        isolation.Options
	}{
		{"nothing said", "", RunOptions{}, isolation.Options{}},
		{"the defaults", "--network=default --security=sandbox", RunOptions{Isolation: network(isolation.None)}, network(isolation.None)},
		{"no network", "--network=none", RunOptions{Isolation: network(isolation.Private)}, network(isolation.None)},
		{"the host's, allowed", "--network=host", RunOptions{Allow: []string{"network.host"}}, network(isolation.Host)},
		{"the host's, as all have it", "--network=host", RunOptions{Isolation: network(isolation.Host)}, network(isolation.Host)},
		{"insecure", "--security=insecure", RunOptions{Allow: []string{"security.insecure"}}, isolation.Options{Security: isolation.Security{Insecure: true}}},
		{"a device", "--device=/dev/null", RunOptions{Allow: []string{"device"}}, isolation.Options{Devices: []string{"/dev/null"}}},
		{"one device", "--device=/dev/null,required", RunOptions{Allow: []string{"device=/dev/null"}, Isolation: isolation.Options{Devices: []string{"/dev/zero"}}},
			isolation.Options{Devices: []string{"/dev/zero", "/dev/null"}}},
		{"a device that all have", "--device=/dev/null", RunOptions{Isolation: isolation.Options{Devices: []string{"/dev/null:/dev/zero"}}},
			isolation.Options{Devices: []string{"/dev/null:/dev/zero", "/dev/null"}}},
		{"a device that is not there", "--device=/dev/none", RunOptions{Allow: []string{"device"}}, isolation.Options{}},
		{"a device that nobody knows", "--device=vendor.example/x=y", RunOptions{}, isolation.Options{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mustBuild(t, "FROM base\nRUN "+tt.flags+" a\n", func(_ *fake, o *Options) { o.Run = tt.run })
			if got := f.cmds[0].Isolation; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestAllow checks which entitlements there are, and that one is not another.
func TestAllow(t *testing.T) {
	for _, allow := range []string{"network", "network.host=x", "all", "", "devices", "=device"} {
		err := RunOptions{Allow: []string{allow}}.Check()
		if !errors.Is(err, builder.ErrInvalid) {
			t.Errorf("%q: %v", allow, err)
		}
	}
	for _, allow := range []string{"security.insecure", "device", "device=/dev/fus", "device=/dev/fuse:rw"} {
		_, err := buildText(t, "FROM base\nRUN --network=host a\nRUN --device=/dev/fuse a\n", func(_ *fake, o *Options) {
			o.Run.Allow = []string{allow}
		})
		var e *Error
		if !errors.As(err, &e) || e.Line != 2 {
			t.Errorf("%q: %v", allow, err)
		}
		_, err = buildText(t, "FROM base\nRUN --device=/dev/fuse a\n", func(_ *fake, o *Options) { o.Run.Allow = []string{allow} })
		if (err == nil) != (allow == "device") {
			t.Errorf("%q: %v", allow, err)
		}
	}
}

// TestRunOptionsCheck: what cannot be is an error whatever the Dockerfile says, before it is read.
func TestRunOptionsCheck(t *testing.T) {
	for name, run := range map[string]RunOptions{
		"a sandbox": {Isolation: isolation.Options{Sandbox: "chroot"}},
		"a filter":  {Isolation: isolation.Options{Security: isolation.Security{Seccomp: "{}"}}},
		"a mount":   {Mounts: []string{"type=cache,target=/c", "type=cash,target=/c"}},
	} {
		_, err := Build(t.Context(), nil, Options{File: File{Path: "nowhere"}, Run: run})
		if !errors.Is(err, builder.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
