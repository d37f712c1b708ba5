//go:build containers_image_openpgp

package signatures

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/internal/policy"
)

// signed is the image of testdata, which a key of GPG has signed (signer.asc) and now one of sigstore too,
// each as registry.example/app:1. It gives the image's directory and sigstore's key.
func signed(t *testing.T) (dir, key string) {
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/image")); err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"registry.example/app:1"},"image":{"docker-manifest-digest":"sha256:%x"},"type":"cosign container image signature"},"optional":null}`, sha256.Sum256(manifest))
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(payload)
	signature, err := private.Sign(rand.Reader, sum[:], nil)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := json.Marshal(map[string]any{
		"mimeType": "application/vnd.dev.cosign.simplesigning.v1+json", "payload": payload,
		"annotations": map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signature)},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "signature-2"), append([]byte("\x00sigstore-json\n"), blob...))
	return dir, publicKey(t, private)
}

func publicKey(t *testing.T, private *ecdsa.PrivateKey) string {
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pub")
	write(t, file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return file
}

func write(t *testing.T, file string, content []byte) {
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// allow asks a policy of an image in a directory.
func allow(t *testing.T, dir, text string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	write(t, file, []byte(text))
	p, err := policy.Read(&types.SystemContext{SignaturePolicyPath: file})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := directory.NewReference(dir)
	if err != nil {
		t.Fatal(err)
	}
	src, err := ref.NewImageSource(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	return p.Allow(t.Context(), image.UnparsedInstance(src, nil))
}

// One key, and one name, let the image in; any other, a manifest that was changed, and a signature that was
// taken away do not.
func TestSigned(t *testing.T) {
	dir, key := signed(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	changed := t.TempDir()
	if err := os.CopyFS(changed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(changed, "manifest.json"), append(manifest, ' '))
	bare := t.TempDir()
	if err := os.CopyFS(bare, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(bare, "signature-1")), os.Remove(filepath.Join(bare, "signature-2"))); err != nil {
		t.Fatal(err)
	}
	gpg, err := filepath.Abs("testdata/signer.asc")
	if err != nil {
		t.Fatal(err)
	}
	const this, repository, another = `{"type": "exactReference", "dockerReference": "registry.example/app:1"}`,
		`{"type": "exactRepository", "dockerRepository": "registry.example/app"}`,
		`{"type": "exactReference", "dockerReference": "registry.example/app:2"}`
	byGPG := func(key, as string) string {
		return fmt.Sprintf(`{"type": "signedBy", "keyType": "GPGKeys", "keyPath": %q, "signedIdentity": %s}`, key, as)
	}
	bySigstore := func(key, as string) string {
		return fmt.Sprintf(`{"type": "sigstoreSigned", "keyPath": %q, "signedIdentity": %s}`, key, as)
	}
	otherGPG, otherKey := strings.Replace(gpg, "signer", "other", 1), publicKey(t, other)
	for name, test := range map[string]struct {
		rules string
		fine  bool
	}{
		"GPG":                      {byGPG(gpg, this), true},
		"GPG, any tag":             {byGPG(gpg, repository), true},
		"GPG, another name":        {byGPG(gpg, another), false},
		"GPG, another key":         {byGPG(otherGPG, this), false},
		"sigstore":                 {bySigstore(key, this), true},
		"sigstore, any tag":        {bySigstore(key, repository), true},
		"sigstore, another name":   {bySigstore(key, another), false},
		"sigstore, another key":    {bySigstore(otherKey, this), false},
		"both":                     {byGPG(gpg, this) + "," + bySigstore(key, this), true},
		"both, one of another key": {byGPG(gpg, this) + "," + bySigstore(otherKey, this), false},
		"signed but rejected":      {byGPG(gpg, this) + `, {"type": "reject"}`, false},
	} {
		policies := `{"default": [{"type": "reject"}], "transports": {"dir": {"": [` + test.rules + `]}}}`
		if err := allow(t, dir, policies); (err == nil) != test.fine || err != nil && !errors.As(err, new(policy.RefusedError)) {
			t.Errorf("%s: %v", name, err)
		}
		for what, dir := range map[string]string{"changed": changed, "without signatures": bare} {
			if err := allow(t, dir, policies); !errors.As(err, new(policy.RefusedError)) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	if err := allow(t, dir, `{"default": [`+byGPG("/nonexistent", this)+`]}`); !errors.As(err, new(policy.RefusedError)) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that is not there: %v", err)
	}
}

// A rule that is no good makes the whole policy so, also where it is not for the image.
func TestBadRules(t *testing.T) {
	for _, rule := range []string{
		`{"type": "signedBy", "keyType": "GPGKeys"}`, `{"type": "signedBy", "keyType": "x509", "keyPath": "/k"}`, `{"type": "sigstoreSigned"}`,
		`{"type": "sigstoreSigned", "keyPath": "/k", "keyData": "eA=="}`, `{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "none"}}`,
	} {
		file := filepath.Join(t.TempDir(), "policy.json")
		var text bytes.Buffer
		fmt.Fprintf(&text, `{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {"registry.example": [%s]}}}`, rule)
		write(t, file, text.Bytes())
		if _, err := policy.Read(&types.SystemContext{SignaturePolicyPath: file}); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", rule, err)
		}
	}
}
