//go:build linux

// Package authtest gives tests a user's home in which no settings of this machine are found.
package authtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Home gives the test a home of its own, without any variable that names auth files.
func Home(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	for _, name := range []string{"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("CONTAINERS_REGISTRIES_CONF", Write(t, filepath.Join(home, "registries.conf"), ""))
	return home
}

// Write writes a program or a file of settings, with the directories that lead there, and returns its path.
func Write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
