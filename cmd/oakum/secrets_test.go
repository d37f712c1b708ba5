package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/dockerfile"
)

func TestSecrets(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("VARIABLE", "of the environment")
	for name, content := range map[string]string{"file": "of a file", "large": strings.Repeat("x", foreign.MaxSecret+1)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"id=a,src=file":              "of a file",
		"id=a,source=file,type=file": "of a file",
		"id=file":                    "of a file",
		"id=a,env=VARIABLE":          "of the environment",
		"type=env,id=a,src=VARIABLE": "of the environment",
		"id=VARIABLE":                "of the environment",
		"id=a,env=UNSET":             "",
	} {
		id, _, err := readSecret(text)
		all, allErr := readSecrets([]string{text})
		if err != nil || allErr != nil {
			t.Errorf("%s: %v, %v", text, err, allErr)
			continue
		}
		if got, err := all.Secret(t.Context(), id); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v", text, got, err)
		}
		if _, err := all.Secret(t.Context(), "other"); !errors.Is(err, dockerfile.ErrNoSecret) {
			t.Errorf("another secret: %v", err)
		}
	}
	for text, says := range map[string]string{
		"src=file": "id=ID is missing", "id=a,src=none": "--secret id=a: stat none", "id=a,type=x": "type is file or env",
		"id=a,src=file,env=VARIABLE": "a variable or a file, not both", "id=a,uid=1": `"uid=1" is none of`, "": "EOF",
	} {
		if _, err := readSecrets([]string{text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	all, err := readSecrets([]string{"id=large"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all.Secret(t.Context(), "large"); err == nil || !strings.Contains(err.Error(), "large is larger than") {
		t.Errorf("got %v", err)
	}
}

func TestSSHFlag(t *testing.T) {
	socket, file := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "f")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	for text, says := range map[string]string{"default": "SSH_AUTH_SOCK is not set", "default=" + file: "not the socket of an agent", "default=/none": "no such file", "=x": "it is ID or ID=SOCKET"} {
		if _, err := readSSH([]string{text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	t.Setenv("SSH_AUTH_SOCK", socket)
	got, err := readSSH([]string{"default", "other=" + socket})
	if err != nil || got["default"] != socket || got["other"] != socket {
		t.Errorf("got %v, %v", got, err)
	}
}
