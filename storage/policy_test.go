//go:build linux && containers_image_openpgp

package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
	_ "github.com/oakum-build/oakum/storage/signatures" // what the policies ask for
)

// What policy.json demands is never passed over: not for want of a key or of signatures,
// not by another transport, and not because the image is in the store already.
func TestSignaturePolicies(t *testing.T) {
	home := authtest.Home(t)
	s := open(t)
	r := newRegistry(t, "")
	commit(t, s, layer(t, s, nil, "f", "one"), "app")
	sent, err := s.Push(t.Context(), "app", r.host+"/app:1", PushOptions{}, insecure(registry.Access{}))
	if err != nil {
		t.Fatal(err)
	}
	layout := "oci:" + t.TempDir() + ":app"
	if _, err := s.Push(t.Context(), "app", layout, PushOptions{}, registry.Access{}); err != nil {
		t.Fatal(err)
	}
	key := authtest.Write(t, filepath.Join(home, "key.pub"), "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFNLqFhf4fiN6o/glAuYnq2jYUeL0\nvRuLu/z39pmbVwS9ff5AYnlwaP9sxREajdLY9ynM6G1sy6AAmb7Z63TsLg==\n-----END PUBLIC KEY-----\n")
	for name, test := range map[string]struct {
		policy string
		says   string // "" is allowed
	}{
		"anything":       {`{"default": [{"type": "insecureAcceptAnything"}]}`, ""},
		"nothing":        {`{"default": [{"type": "reject"}]}`, "signature policy does not allow it"},
		"a GPG key":      {fmt.Sprintf(`{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": %q}]}`, key), "signature"},
		"a missing key":  {`{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nonexistent"}]}`, "signature"},
		"a sigstore key": {fmt.Sprintf(`{"default": [{"type": "sigstoreSigned", "keyPath": %q}]}`, key), "signature"},
		"of another":     {fmt.Sprintf(`{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {%q: [{"type": "reject"}]}, "oci": {"": [{"type": "reject"}]}}}`, r.host), "signature policy does not allow it"},
		"no policy":      {`{}`, "signature policy"},
		"not JSON":       {`{`, "signature policy"},
		"unknown":        {`{"default": [{"type": "somethingNew"}]}`, "signature policy"},
	} {
		access := insecure(registry.Access{SignaturePolicy: authtest.Write(t, filepath.Join(home, name+".json"), test.policy)})
		for _, ref := range []string{r.host + "/app:1", "docker://" + r.host + "/app:1", r.host + "/app@" + sent.Digest.String(), layout} {
			_, err := s.PullBase(t.Context(), ref, platform.Platform{}, access)
			if (err == nil) != (test.says == "") || err != nil && (!strings.Contains(strings.ToLower(err.Error()), test.says) || errors.Is(err, registry.ErrRegistry)) {
				t.Errorf("%s, %s: got %v, want %q", name, ref, err, test.says)
			}
		}
	}
}

// An image is pulled by a policy that wants it signed, with its signature, and nothing is pulled where the signature
// is of another name or of something else.
func TestSignedImages(t *testing.T) {
	home := authtest.Home(t)
	s := open(t)
	signed := filepath.Join(t.TempDir(), "signed")
	if err := os.CopyFS(signed, os.DirFS("signatures/testdata/image")); err != nil {
		t.Fatal(err)
	}
	key, err := filepath.Abs("signatures/testdata/signer.asc")
	if err != nil {
		t.Fatal(err)
	}
	access := func(name string) registry.Access {
		policy := fmt.Sprintf(`{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": %q, "signedIdentity": {"type": "exactReference", "dockerReference": %q}}]}`, key, name)
		return registry.Access{SignaturePolicy: authtest.Write(t, filepath.Join(home, "policy.json"), policy)}
	}
	if _, err := s.Pull(t.Context(), "dir:"+signed, platform.Platform{}, access("registry.example/other:1")); err == nil || !strings.Contains(err.Error(), "signature policy does not allow it") {
		t.Errorf("of another name: %v", err)
	}
	img, err := s.Pull(t.Context(), "dir:"+signed, platform.Platform{}, access("registry.example/app:1"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(signed, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	authtest.Write(t, filepath.Join(signed, "manifest.json"), string(manifest)+" ")
	if _, err := s.Remove(img.ID, true, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), "dir:"+signed, platform.Platform{}, access("registry.example/app:1")); err == nil || !strings.Contains(err.Error(), "signature policy does not allow it") {
		t.Errorf("changed: %v", err)
	}
	if all, err := s.Images(); err != nil || len(all) != 0 {
		t.Errorf("the store has %v, %v", all, err)
	}
}
