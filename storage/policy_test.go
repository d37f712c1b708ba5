//go:build linux

package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What policy.json demands is never passed over: not for want of a key or of signatures,
// not by another transport, and not because the image is in the store already.
func TestSignaturePolicies(t *testing.T) {
	home := userHome(t)
	s := open(t)
	r := newRegistry(t, "")
	commit(t, s, layer(t, s, nil, "f", "one"), "app")
	sent, err := s.Push(t.Context(), "app", r.host+"/app:1", "", insecure(Access{}))
	if err != nil {
		t.Fatal(err)
	}
	layout := "oci:" + t.TempDir() + ":app"
	if _, err := s.Push(t.Context(), "app", layout, "", Access{}); err != nil {
		t.Fatal(err)
	}
	key := write(t, filepath.Join(home, "key.pub"), "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFNLqFhf4fiN6o/glAuYnq2jYUeL0\nvRuLu/z39pmbVwS9ff5AYnlwaP9sxREajdLY9ynM6G1sy6AAmb7Z63TsLg==\n-----END PUBLIC KEY-----\n")
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
		access := insecure(Access{SignaturePolicy: write(t, filepath.Join(home, name+".json"), test.policy)})
		for _, ref := range []string{r.host + "/app:1", "docker://" + r.host + "/app:1", r.host + "/app@" + sent.Digest.String(), layout} {
			_, err := s.PullBase(t.Context(), ref, Platform{}, access)
			if (err == nil) != (test.says == "") || err != nil && (!strings.Contains(strings.ToLower(err.Error()), test.says) || errors.Is(err, ErrRegistry)) {
				t.Errorf("%s, %s: got %v, want %q", name, ref, err, test.says)
			}
		}
	}
}

// A full disk, which processes of containers/storage give as a text, is no fault of the
// registry.
func TestDiskFull(t *testing.T) {
	named := mustParse(t, "h.example/a")
	for _, err := range []error{
		fmt.Errorf("writing blob: %w", syscall.ENOSPC), errors.New("unpacking failed (error: exit status 1; output: write /f: no space left on device)"), syscall.EDQUOT,
	} {
		if got := asked(pulling, named, err); errors.Is(got, ErrRegistry) || !strings.Contains(got.Error(), "pulling h.example/a:latest: the disk is full") {
			t.Errorf("%v: got %v", err, got)
		}
		if _, again := temporary(err); again {
			t.Errorf("%v is tried again", err)
		}
	}
	if got := asked(pulling, named, syscall.ECONNREFUSED); !errors.Is(got, ErrRegistry) {
		t.Errorf("a closed port: %v", got)
	}
}
