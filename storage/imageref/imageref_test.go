package imageref

import (
	"errors"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"app": "localhost/app:latest", "app:v1": "localhost/app:v1", "team/app": "localhost/team/app:latest", "localhost/app": "localhost/app:latest",
		"localhost:5000/app": "localhost:5000/app:latest", "example.com/app:x": "example.com/app:x", "docker.io/app": "docker.io/library/app:latest",
		"docker.io/library/app": "docker.io/library/app:latest", "docker.io/team/app:1": "docker.io/team/app:1", "127.0.0.1:1/app": "127.0.0.1:1/app:latest",
		"a.b/c": "a.b/c:latest", "a/b/c/d": "localhost/a/b/c/d:latest", "x_y--z": "localhost/x_y--z:latest",
	} {
		if got, err := Canonical(name); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", "UPPER", "a b", "a:", ":a", "/a", "a/", "a//b", "a@b", "a@sha256:" + strings.Repeat("0", 64), "a:b:c", "-a", "http://a/b",
		strings.Repeat("0", 64), "a:" + strings.Repeat("x", 129), "a\n", "docker://a"} {
		if got, err := Canonical(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %q, %v, want ErrInvalid", name, got, err)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"app", "docker.io/app", "a:b@sha256:x", "localhost:5000/a/b:c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		full, err := Canonical(name)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		if again, err := Canonical(full); err != nil || again != full {
			t.Errorf("%q is %q, and that is %q, %v", name, full, again, err)
		}
	})
}
