//go:build containers_image_openpgp

package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// referred is an image of which only its reference may be asked.
type referred struct {
	types.UnparsedImage
	ref types.ImageReference
}

func (r referred) Reference() types.ImageReference { return r.ref }

// references are images in several scopes.
func references(t testing.TB) []referred {
	var all []referred
	for _, name := range []string{
		"//docker.io/library/app:1", "//registry.example/app", "//registry.example:5000/team/app:2", "//a.registry.example/team/sub/app",
		"//registry.example/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	} {
		ref, err := docker.ParseReference(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, referred{ref: ref})
	}
	for _, transport := range []types.ImageTransport{ocilayout.Transport, directory.Transport} {
		ref, err := transport.ParseReference("/usr/app")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, referred{ref: ref})
	}
	return all
}

const (
	anything = `[{"type": "insecureAcceptAnything"}]`
	rejected = `[{"type": "reject"}]`
)

// policies are texts of the file, good and bad.
var policies = []string{
	`{"default": ` + anything + `}`,
	`{"default": ` + rejected + `}`,
	`{"default": [{"type": "insecureAcceptAnything"}, {"type": "reject"}]}`,
	`{"default": ` + rejected + `, "transports": {"docker": {"": ` + anything + `}}}`,
	`{"default": ` + anything + `, "transports": {"docker": {"registry.example": ` + rejected + `}}}`,
	`{"default": ` + anything + `, "transports": {"docker": {"registry.example": ` + rejected + `, "registry.example/app": ` + anything + `}}}`,
	`{"default": ` + anything + `, "transports": {"docker": {"registry.example/app:latest": ` + rejected + `, "": ` + rejected + `, "docker.io/library": ` + anything + `}}}`,
	`{"default": ` + anything + `, "transports": {"docker": {"*.registry.example": ` + rejected + `, "registry.example:5000/team": ` + rejected + `}}}`,
	`{"default": ` + anything + `, "transports": {"oci": {"/usr": ` + rejected + `}, "dir": {"/usr/app": ` + rejected + `}}}`,
	`{"default": ` + rejected + `, "transports": {"docker-daemon": {"": ` + anything + `}, "unheard-of": {"what it likes": ` + anything + `}, "docker": {}}}`,
	`{"default": ` + anything + `, "transports": {"docker": {"https://registry.example": ` + rejected + `}}}`, // no scope
	`{"default": ` + anything + `, "transports": {"oci": {"relative": ` + rejected + `}}}`,
	`{"default": ` + anything + `, "transports": {"docker": {"a": ` + rejected + `, "a": ` + anything + `}}}`,
	`{"default": ` + anything + `, "default": ` + rejected + `}`,
	`{"default": ` + anything + `, "transports": {"docker": {}, "docker": {}}}`,
	`{"default": ` + anything + `, "Transports": {}}`,
	`{"default": [{"type": "insecureAcceptAnything", "unless": "signed"}]}`,
	`{"default": [{"type": "reject", "type": "insecureAcceptAnything"}]}`,
	`{"default": [{"Type": "insecureAcceptAnything"}]}`,
	`{"default": [{"type": "somethingNew"}]}`, `{"default": [{"type": 1}]}`, `{"default": [{}]}`, `{"default": [null]}`, `{"default": ["reject"]}`,
	`{"default": []}`, `{"default": null}`, `{"default": {}}`, `{}`, `[]`, `null`, `{`, ``, `{"default": ` + anything + `} x`, `{"default": ` + anything + `, "transports": null}`,
	`{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nonexistent"}]}`,
	`{"default": [{"type": "signedBy", "keyType": "GPGKeys"}]}`,
	`{"default": [{"type": "signedBy", "keyType": "none", "keyPath": "/nonexistent"}]}`,
	`{"default": [{"type": "sigstoreSigned", "keyPath": "/nonexistent", "signedIdentity": {"type": "matchRepository"}}]}`,
	`{"default": [{"type": "sigstoreSigned", "keyPath": "/nonexistent", "signedIdentity": {"type": "whatever"}}]}`,
	`{"default": [{"type": "sigstoreSigned"}]}`,
	`{"default": [{"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}]}`,
}

// reads asks containers/image whether a rule is a good one.
func reads(rule []byte) (Check, error) {
	_, err := signature.NewPolicyFromBytes(fmt.Appendf(nil, `{"default": [%s]}`, rule))
	return accept, err
}

// compare holds a policy against what containers/image makes of it: the same texts are policies, and the same
// images are allowed by them, as far as no signatures are asked for.
func compare(t *testing.T, text string, images []referred) {
	want, wantErr := signature.NewPolicyFromBytes([]byte(text))
	got, err := parse([]byte(text), reads)
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%s: %v, and containers/image says %v", text, err, wantErr)
	}
	if err != nil || wantErr != nil || strings.Contains(text, "igned") {
		return
	}
	pc, err := signature.NewPolicyContext(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range images {
		allowed, wantErr := pc.IsRunningImageAllowed(t.Context(), image)
		err := got.Allow(t.Context(), image)
		if (err == nil) != allowed || err != nil && !errors.As(err, new(RefusedError)) {
			t.Errorf("%s: %s: %v, and containers/image says %v", text, image.ref.StringWithinTransport(), err, wantErr)
		}
	}
}

func TestPolicies(t *testing.T) {
	images := references(t)
	for _, text := range policies {
		compare(t, text, images)
	}
}

// A policy is an administrator's file, but a rule of it that is read otherwise than by all other tools lets in
// what they keep out.
func FuzzPolicy(f *testing.F) {
	for _, text := range policies {
		f.Add(text)
	}
	images := references(f)
	f.Fuzz(func(t *testing.T, text string) { compare(t, text, images) })
}

// A program without checks of signatures refuses what has to be signed, says which import is missing, and goes
// by all other rules as any program.
func TestUnchecked(t *testing.T) {
	images := references(t)
	for _, kind := range []string{"signedBy", "sigstoreSigned", "signedBaseLayer"} {
		signed := fmt.Sprintf(`[{"type": "insecureAcceptAnything"}, {"type": %q, "keyPath": "/nonexistent"}]`, kind)
		p, err := parse([]byte(`{"default": `+anything+`, "transports": {"docker": {"registry.example": `+signed+`}}}`), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Allow(t.Context(), images[0]); err != nil {
			t.Errorf("%s: an image of another registry: %v", kind, err)
		}
		var unchecked *UncheckedError
		err = p.Allow(t.Context(), images[1])
		if !errors.As(err, &unchecked) || unchecked.Rule != kind || unchecked.Image != "docker://registry.example/app:latest" ||
			!strings.Contains(err.Error(), "oakum/builder/signatures") || !strings.Contains(unchecked.Fix(), "containers_image_openpgp") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// All rules of a list must hold, and what one finds is told.
func TestChecks(t *testing.T) {
	image := references(t)[0]
	broken := errors.New("the key is broken")
	for text, want := range map[string]error{
		`[{"type": "signedBy", "n": 0}]`:                           nil,
		`[{"type": "signedBy", "n": 0}, {"type": "reject"}]`:       RefusedError(""),
		`[{"type": "reject"}, {"type": "signedBy", "n": 1}]`:       RefusedError(""),
		`[{"type": "signedBy", "n": 1}]`:                           broken,
		`[{"type": "signedBy", "n": 0}, {"type": "signedBy"}]`:     RefusedError(""),
		`[{"type": "insecureAcceptAnything"},{"type":"signedBy"}]`: RefusedError(""),
	} {
		p, err := parse([]byte(`{"default": `+text+`}`), func(rule []byte) (Check, error) {
			return func(context.Context, types.UnparsedImage) error {
				switch {
				case strings.Contains(string(rule), `"n": 0`):
					return nil
				case strings.Contains(string(rule), `"n": 1`):
					return broken
				}
				return RefusedError("no signature")
			}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = p.Allow(t.Context(), image)
		if refused := errors.As(want, new(RefusedError)); refused != errors.As(err, new(RefusedError)) || !refused && err != want {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

// A machine without a policy accepts every image; one that is named must be there.
func TestRead(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	root, image := t.TempDir(), references(t)[0]
	missing, there := filepath.Join(root, "missing.json"), filepath.Join(root, "etc/containers/policy.json")
	if err := os.MkdirAll(filepath.Dir(there), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(there, []byte(`{"default": `+rejected+`}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		sys     types.SystemContext
		env     string
		refused bool
		err     error
	}{
		{types.SystemContext{RootForImplicitAbsolutePaths: missing}, "", false, nil},
		{types.SystemContext{RootForImplicitAbsolutePaths: root}, "", true, nil},
		{types.SystemContext{RootForImplicitAbsolutePaths: missing}, there, true, nil},
		{types.SystemContext{RootForImplicitAbsolutePaths: missing, SignaturePolicyPath: there}, missing, true, nil},
		{types.SystemContext{SignaturePolicyPath: missing}, there, false, fs.ErrNotExist},
		{types.SystemContext{RootForImplicitAbsolutePaths: root}, missing, false, fs.ErrNotExist},
	} {
		t.Setenv("CONTAINERS_POLICY_JSON", test.env)
		p, err := Read(&test.sys)
		if !errors.Is(err, test.err) {
			t.Errorf("%+v, %q: %v", test.sys, test.env, err)
		}
		if err != nil {
			continue
		}
		if refused := p.Allow(t.Context(), image) != nil; refused != test.refused {
			t.Errorf("%+v, %q: refused: %v", test.sys, test.env, refused)
		}
	}
	if err := os.WriteFile(there, []byte(`{"default": {}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&types.SystemContext{SignaturePolicyPath: there}); err == nil || !strings.Contains(err.Error(), there) {
		t.Errorf("a policy that is none: %v", err)
	}
}
