//go:build linux

package storage

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// key is the n-th of any number of digests.
func key(n int) string { return fmt.Sprintf("%064x", n) }

func TestSteps(t *testing.T) {
	t.Parallel()
	s := open(t)
	one, two := layer(t, s, nil, "f", "one"), layer(t, s, nil, "f", "two")
	record := func(key, content string, l *Layer) {
		t.Helper()
		if err := s.RecordStep(key, content, nil, l); err != nil {
			t.Fatal(err)
		}
	}
	want := func(key, content string, l *Layer, found bool) {
		t.Helper()
		got, ok := s.Step(key, content)
		if ok != found || got.ID() != l.ID() {
			t.Errorf("step %.8s with %.8s: got layer %.8s, %v, want %.8s, %v", key, content, got.ID(), ok, l.ID(), found)
		}
	}
	want(key(1), "", nil, false)
	if s.StepSeen(key(1)) {
		t.Error("the step was seen")
	}
	record(key(1), "", one)
	record(key(1), key(7), two)
	record(key(2), key(7), nil)
	want(key(1), "", one, true)
	want(key(1), key(7), two, true)
	want(key(1), key(8), nil, false)
	want(key(2), key(7), nil, true) // the empty root is a result
	want(key(2), "", nil, false)
	record(key(1), "", two)
	want(key(1), "", two, true) // the newest
	if err := s.cs.DeleteLayer(two.ID()); err != nil {
		t.Fatal(err)
	}
	want(key(1), "", one, true) // the newest that is still there
	want(key(1), key(7), nil, false)
	for _, bad := range [][2]string{{"", ""}, {"../x", ""}, {key(1)[1:], ""}, {strings.ToUpper(strings.Repeat("a", 64)), ""}, {key(1), "x y"}, {key(1), "-"}} {
		if err := s.RecordStep(bad[0], bad[1], nil, one); err == nil {
			t.Errorf("recorded %q", bad)
		}
	}
}

func TestStepsAreBounded(t *testing.T) {
	t.Parallel()
	s := open(t)
	l := layer(t, s, nil, "f", "one")
	for i := range 10 * maxResults {
		if err := s.RecordStep(key(1), key(i), nil, l); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Step(key(1), key(i)); !ok {
			t.Fatalf("result %d is not there", i)
		}
	}
	if n := len(s.stepLines(key(1))); n > maxResults {
		t.Errorf("%d results are kept", n)
	}
	if _, ok := s.Step(key(1), key(0)); ok {
		t.Error("the oldest is kept")
	}
	if names, err := s.names("steps"); err != nil || len(names) != 1 {
		t.Errorf("files %q: %v", names, err)
	}
}

// Processes write at the same time.
func TestStepsAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	l := layer(t, s, nil, "f", "one")
	var wg sync.WaitGroup
	for i := range maxResults / 2 {
		wg.Go(func() {
			if err := s.RecordStep(key(1), key(i), nil, l); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range maxResults / 2 {
		if _, ok := s.Step(key(1), key(i)); !ok {
			t.Errorf("result %d is lost", i)
		}
	}
}

// A file that a crash cut short, or that is none of ours, gives no layer but those it
// names in full.
func TestStepLines(t *testing.T) {
	t.Parallel()
	s := open(t)
	l := layer(t, s, nil, "f", "one")
	for text, found := range map[string]bool{
		"- " + l.ID() + "\n": true, "- " + l.ID(): true, "- " + l.ID() + " -\n": true, "- " + l.ID() + " " + key(1): true, "x y\n\n- " + l.ID() + "\n": true,
		"- " + l.ID()[:63] + "\n": false, "- " + l.ID()[:3] + "\n": false, "- \n": false, "-\n": false, "-": false, "": false, "\n": false,
		"- " + l.ID() + " x\n": false, "-  " + l.ID() + "\n": false, key(1) + " " + l.ID() + "\n": false, "- ../" + l.ID() + "\n": false, "\x00\xff": false,
	} {
		if err := s.private.WriteFile(stepFile(key(1)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Step(key(1), ""); ok != found || found && got.ID() != l.ID() {
			t.Errorf("%q: got layer %q, %v", text, got.ID(), ok)
		}
	}
}

func FuzzStepLines(f *testing.F) {
	s := open(f)
	l := layer(f, s, nil, "f", "one")
	for _, seed := range []string{"- ", "- -\n", "- " + l.ID() + "\n", key(1) + " " + l.ID()} {
		f.Add([]byte(seed), "")
		f.Add([]byte(seed), key(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, content string) {
		if err := s.private.WriteFile(stepFile(key(1)), data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, ok := s.Step(key(1), content)
		if ok && got != nil && got.ID() != l.ID() || !ok && got != nil {
			t.Errorf("%q: got layer %q, %v", data, got.ID(), ok)
		}
		if ok && got == nil && !strings.Contains(string(data), contentName(content)+" -") {
			t.Errorf("%q: the empty root", data)
		}
	})
}

func TestContents(t *testing.T) {
	t.Parallel()
	s := open(t)
	if _, ok := s.Content(key(1)); ok {
		t.Error("a content that nobody told")
	}
	if err := s.RememberContent(key(1), key(2)); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.Content(key(1)); !ok || got != key(2) {
		t.Errorf("got %q, %v", got, ok)
	}
	for _, bad := range [][2]string{{"../x", key(1)}, {key(1), ""}, {key(1), key(2)[1:]}} {
		if err := s.RememberContent(bad[0], bad[1]); err == nil {
			t.Errorf("remembered %q", bad)
		}
	}
	for _, text := range []string{"", key(2)[:63], key(2) + "\n", "\x00"} {
		if err := s.private.WriteFile("contents/"+key(1), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Content(key(1)); ok {
			t.Errorf("%q is content %q", text, got)
		}
	}
}
