package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile"
)

func TestSecrets(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("VARIABLE", "of the environment")
	t.Setenv("LARGE", strings.Repeat("x", limits.MaxSecret+1))
	for name, content := range map[string]string{"file": "of a file", "large": strings.Repeat("x", limits.MaxSecret+1)} {
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
		"id=large": "--secret id=large: large is larger than 512000 bytes", "id=a,env=LARGE": "--secret id=a: the variable LARGE is larger than", "id=a,src=.": "--secret id=a: . is a directory",
		"id=a,src=file,env=VARIABLE": "a variable or a file, not both", "id=a,uid=1": `"uid=1" is none of`, "": "EOF",
	} {
		if _, err := readSecrets([]string{text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	// One that has grown since is found when it is read.
	all, err := readSecrets([]string{"id=file"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename("large", "file"); err != nil {
		t.Fatal(err)
	}
	if _, err := all.Secret(t.Context(), "file"); err == nil || !strings.Contains(err.Error(), "file is larger than") {
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
	for text, says := range map[string]string{
		"default": "SSH_AUTH_SOCK is not set", "default=/none": "no such file", "=x": "it is ID, ID=SOCKET or ID=KEY[,KEY]", "default=": "it is ID, ID=SOCKET",
		"default=/": "neither the socket of an agent nor the file of a key", "a=" + file + "," + socket: "give the one socket of an agent, or keys", "a=" + socket + "," + file: "give the one socket", "a=" + socket + ",raw=true": "raw=true: only", "a=raw=false": "it names neither",
		"a=" + file + ",/none": "no such file",
	} {
		if _, err := readSSH([]string{text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	t.Setenv("SSH_AUTH_SOCK", socket)
	got, err := readSSH([]string{"default", "other=" + socket + ",raw=false", "keys=" + file + "," + file})
	want := map[string]dockerfile.Agent{"default": {Socket: socket}, "other": {Socket: socket}, "keys": {Keys: []string{file, file}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := readSSH([]string{"default", "default=" + socket}); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("twice: %v", err)
	}
}
