package plan

import (
	"errors"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// TestLongLines: lines beyond the parser's limit are as others, and so are the lines below.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz ", 2500)
	for _, escape := range []string{`\`, "`"} {
		text := "# escape=" + escape + "\nFROM x\nRUN echo " + long + "\nENV A=\"" + long + "\" B=$A\nCMD [\"" + long + "\", \"b\"]\n" +
			"COPY --chmod=644 <<E /f\nfirst\n" + long + "\n" + long + "\nE\nRUN a " + escape + "\n  " + long + escape + "\n b\nUSER last\n"
		p, err := newPlan([]byte(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		c := p.Target.Commands
		if run := c[0].Command.(*instructions.RunCommand).CmdLine[0]; run != strings.TrimSpace("echo "+long) {
			t.Errorf("RUN of %d bytes", len(run))
		}
		if env := c[1].Command.(*instructions.EnvCommand).Env; len(env) != 2 || env[0].Value != `"`+long+`"` {
			t.Errorf("ENV with %d values", len(env))
		}
		if cmd := c[2].Command.(*instructions.CmdCommand).CmdLine; len(cmd) != 2 || cmd[0] != long {
			t.Errorf("CMD with %d arguments", len(cmd))
		}
		if doc := c[3].Command.(*instructions.CopyCommand).SourceContents[0].Data; doc != "first\n"+long+"\n"+long+"\n" {
			t.Errorf("here-document of %d bytes", len(doc))
		}
		if run := c[4].Command.(*instructions.RunCommand).CmdLine[0]; run != "a   "+long+" b" {
			t.Errorf("continued RUN of %d bytes", len(run))
		}
		for i, want := range [][2]int{{3, 3}, {4, 4}, {5, 5}, {6, 10}, {11, 13}, {14, 14}} {
			if c[i].Line != want[0] || c[i].End != want[1] {
				t.Errorf("instruction %d is in lines %d to %d, want %v", i, c[i].Line, c[i].End, want)
			}
		}
		_, err = newPlan([]byte(text+"OOPS\n"), Options{})
		var f *Fault
		if !errors.As(err, &f) || f.Line != 15 {
			t.Errorf("a fault below: %+v", f)
		}
	}
	// What has no plain place is refused as before.
	if _, err := newPlan([]byte("FROM x\nRUN "+strings.Repeat("-", 70000)+"\n"), Options{}); err == nil || !strings.Contains(err.Error(), "line greater than") {
		t.Errorf("got %v", err)
	}
	for _, blank := range []string{"#" + strings.Repeat("x", 70000), strings.Repeat(" ", 70000)} {
		if _, err := newPlan([]byte("FROM x\n"+blank), Options{}); err == nil || !strings.Contains(err.Error(), "line greater than") {
			t.Errorf("%.3q…: %v", blank, err)
		}
	}
	if _, err := newPlan([]byte("FROM x\nRUN "+strings.Repeat("x", 200000)+"\n"), Options{}); err != nil {
		t.Error(err)
	}
}
