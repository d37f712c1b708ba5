//go:build linux

package filecopy

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestMode has the cases of chmod(1), the reference's examples first.
func TestMode(t *testing.T) {
	const dir = unix.S_IFDIR
	tests := []struct {
		mode      string
		old, want uint32
	}{
		{"755", 0o600, 0o755},
		{"0", 0o777, 0},
		{"7777", 0, 0o7777},
		{"+x", 0o644, 0o755},
		{"u=rwX,go=rX", 0o600, 0o644},
		{"u=rwX,go=rX", 0o700, 0o755},
		{"u=rwX,go=rX", 0o010, 0o755},
		{"u=rwX,go=rX", dir | 0o700, 0o755},
		{"u=rwX,go=rX", dir | 0o600, 0o755},
		{"g=u", 0o640, 0o660},
		{"g=u", 0o2700, 0o2770},
		{"g=u", dir | 0o2755, 0o2775},
		{"o=g", dir | 0o3770, 0o3777},
		{"=u", dir | 0o7700, 0o7777},
		{"u=g", 0o4750, 0o4550},
		{"g=rwx", dir | 0o2700, 0o770},
		{"go-w", 0o666, 0o644},
		{"u=rw,g=r,o=r", 0o666, 0o644},
		{"a+X", 0o666, 0o666},
		{"a+X", 0o624, 0o624},
		{"a+X", dir | 0o124, 0o135},
		{"u+rw,g+r,o-x,o+w", dir | 0o124, 0o766},
		{"+w", 0o444, 0o666},
		{"-w", 0o666, 0o444},
		{"=r", 0o777, 0o444},
		{"=rw", 0o777, 0o666},
		{"a=rw", 0o777, 0o666},
		{"go=", 0o777, 0o700},
		{"=", 0o777, 0},
		{"u+s", 0o755, 0o4755},
		{"g+s", 0o755, 0o2755},
		{"o+s", 0o755, 0o755},
		{"+s", 0o755, 0o6755},
		{"+t", dir | 0o777, 0o1777},
		{"o+t", 0o755, 0o755},
		{"u-s", 0o6755, 0o2755},
		{"u=rwx", 0o4755, 0o755},
		{"go=u-w", 0o700, 0o755},
		{"u+x+w-r", 0o400, 0o300},
		{"o=g,g=o", 0o641, 0o644},
		{"ug+rw", 0, 0o660},
		{"a-X", 0o755, 0o644},
		{"u+x-X", 0o644, 0o644},
	}
	for _, test := range tests {
		m, err := ParseMode(test.mode)
		if err != nil {
			t.Errorf("%s: %v", test.mode, err)
			continue
		}
		if got := m.Apply(test.old); got != test.want {
			t.Errorf("%s of %o: %o, want %o", test.mode, test.old, got, test.want)
		}
	}
}

func TestModeFaults(t *testing.T) {
	for _, text := range []string{"", "8", "17777", "-1", "64a", "rwx", "u", "u+y", "u+rw,", ",u+r", "u=gr", "u + r", "+x;"} {
		if _, err := ParseMode(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func FuzzMode(f *testing.F) {
	for _, seed := range []string{"755", "u=rwX,go=rX", "+t", "g=u", "a-x,o=", "u=gx"} {
		f.Add(seed, uint32(0o644))
	}
	f.Fuzz(func(t *testing.T, text string, old uint32) {
		m, err := ParseMode(text)
		if err != nil {
			return
		}
		if now := m.Apply(old); now > 0o7777 {
			t.Errorf("%q of %o gives %o", text, old, now)
		}
	})
}
