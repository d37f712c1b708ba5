package plan

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder/limits"
)

// build does what a build does with the target's variables.
func build(text string) error {
	p, err := newPlan([]byte(text), Options{Args: map[string]string{"GIVEN": "x"}})
	if err != nil {
		return err
	}
	for _, s := range p.Needed() {
		scope := p.Scope(nil, []string{"PATH=/bin"})
		for _, c := range s.Commands {
			expanded, err := scope.Expand(c)
			if err != nil {
				return err
			}
			switch ic := expanded.(type) {
			case *instructions.ArgCommand:
				if _, err := scope.Declare(ic); err != nil {
					return err
				}
			case *instructions.EnvCommand:
				for _, kv := range ic.Env {
					scope.Set(kv.Key, kv.Value)
				}
			case *instructions.RunCommand:
				if _, err := scope.RunHistory(ic.CmdLine); err != nil {
					return err
				}
			case *instructions.ExposeCommand:
				for _, port := range ic.Ports {
					if _, err := scope.Words(port); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// nest nests a use of a variable in itself, and quotes the rest of it if that is not "".
func nest(depth int, quote string) string {
	return strings.Repeat(quote+"${A:-", depth) + strings.Repeat("}"+quote, depth)
}

// doubled sets variables, each the double of the one before.
func doubled(instruction string, times int) string {
	text := instruction + " A0=xxxxxxxx\n"
	for i := range times {
		text += fmt.Sprintf("%s A%d=$A%d$A%d\n", instruction, i+1, i, i)
	}
	return text
}

// A Dockerfile that asks for too much is an error that names the limit, soon, and without
// ending the program; what is just below a limit is built.
func TestLimits(t *testing.T) {
	kb := strings.Repeat("x", 1024)
	many := func(count int, format string) string {
		var text strings.Builder
		for i := range count {
			fmt.Fprintf(&text, format, i)
		}
		return text.String()
	}
	big := "ENV B=" + strings.Repeat("x", limits.MaxValue) + "\n"
	tests := []struct{ name, text, says string }{
		{"nested", "ENV B=" + nest(limits.MaxNesting, ""), ""},
		{"nested too deep", "ENV B=" + nest(limits.MaxNesting+1, ""), "the depth of ${...} in each other"},
		{"nested in the header", "", "the depth"},
		{"nested for the stack", "ENV B=" + nest(600_000, ""), "the number of ${...} in an instruction of"},
		{"nested in RUN", "RUN " + nest(600_000, ""), "the number of ${...}"},
		{"nested without an end", "RUN " + strings.Repeat("${A:-", 600_000), "the number of ${...}"},
		{"nested in quotes", "LABEL b=" + nest(600_000, `"`), "the number of ${...}"},
		{"closed in quotes alone", "RUN " + strings.Repeat("${A:-'}'", 600_000), "the number of ${...}"},
		{"nested over lines", "RUN " + strings.Repeat("$\\\n# c\n\n{A:-\\\n", 100_000) + "x", "the number of ${...}"},
		{"nested in a here-document", "COPY <<E /\n" + strings.Repeat("${A:-", 9_000) + "\n" + strings.Repeat("${A:-", 9_000) + "\nE\n", "the number of ${...} in one text"},
		{"nested in a trigger", "ONBUILD RUN " + nest(600_000, ""), "the number of ${...}"},
		{"nested deletions", "ENV B=" + strings.Repeat("${A/", 5_000) + strings.Repeat("}", 5_000), "the depth of ${...}"},
		{"many in one text", "ENV B=" + strings.Repeat("${PATH}", 5_000), ""},
		{"doubled", doubled("ENV", 14) + "RUN $A14", ""},
		{"doubled too often", doubled("ENV", 27), "the length of A15 is more than 131072 bytes"},
		{"doubled arguments", doubled("ARG", 27), "the length of A15"},
		{"many uses of a large one", big + "LABEL a=" + strings.Repeat("$B", limits.MaxExpansion/limits.MaxValue), ""},
		{"too many uses", big + "LABEL a=" + strings.Repeat("$B", limits.MaxExpansion/limits.MaxValue+1), "what variables put into the text"},
		{"many labels of a large one", big + many(60, "LABEL a%d="+strings.Repeat("$B", 10)+"\n"), "what variables put into the text"},
		{"many large ones", many(10, "ENV B%d="+strings.Repeat("x", limits.MaxValue)+"\n"), "the length of all variables"},
		{"a history of large ones", "ARG B=" + strings.Repeat("x", limits.MaxValue) + "\n" + many(600, "RUN %d\n"), "all texts of the stage and its history"},
		{"replaced by much", "ENV B=" + kb + "\nLABEL a=${B//x/" + strings.Repeat("y", 100_000) + "}", "the length of $B, times"},
		{"replaced by much of variables", "ENV B=" + kb + " C=" + strings.Repeat(kb, 100) + "\nLABEL a=${B//x/$C}", "the length of $B, times"},
		{"replaced in what replaces", "ENV B=" + kb + "\nLABEL a=${B//x/${B//x/${B//x/${B//x/$B}}}}", "is more than"},
		{"replaced a little", "ENV B=" + kb + "\nLABEL a=${B//x/yy}${B//x/zz}${PATH%/*}${PATH#/}", ""},
		{"a large one beside a pattern", big + "LABEL a=$B${PATH#/}", ""},
		{"a long pattern", "LABEL a=${PATH#" + "*" + strings.Repeat("x", 300_000) + "}", "the length of a text with ${NAME#PATTERN}"},
		{"a pattern on much", big + "LABEL a=${B#" + strings.Repeat("*x", 500) + "}", "the length of $B, times"},
		{"instructions", many(limits.MaxInstructions, "LABEL a%d=b\n"), "the number of instructions"},
		{"stages", many(limits.MaxStages, "FROM y%d\n"), "the number of stages"},
		{"lines", strings.Repeat("x\n", limits.MaxLines+1), "the number of lines"},
		{"comments", strings.Repeat("# ${\n\n", limits.MaxLines), ""},
	}
	for _, test := range tests {
		text := "FROM x\n" + test.text
		if test.name == "nested in the header" {
			text = "ARG B=" + nest(limits.MaxNesting+1, "") + "\nFROM x\n"
		}
		start := time.Now()
		err := build(text)
		var limit *limits.LimitError
		if (test.says == "") != (err == nil) || err != nil && (!errors.As(err, &limit) || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%s: %.200v, want %q", test.name, err, test.says)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", test.name, len(err.Error()))
		}
		if took := time.Since(start); took > 5*time.Minute {
			t.Errorf("%s: it took %v", test.name, took)
		}
	}
	// One of the lexer's own does not show all of a long word.
	if err := build("FROM x\nLABEL a=" + strings.Repeat("x", 1<<16) + "${B:?no}"); err == nil || len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

// FuzzLex looks for words that the lexer makes more of than the limits let it, or that end
// the program.
func FuzzLex(f *testing.F) {
	f.Add(`${A:-${B//x/$A$A}}`, "xxxxxxxx", "y")
	f.Add(`"${A%%x*}"'${B#*/}'\${`, "a/b", "")
	f.Add(`${A/$B/${A//a/${B}}}`, "aaaa", "a")
	f.Add(strings.Repeat("${A:-'}'", 200), "", "")
	f.Fuzz(func(t *testing.T, word, a, b string) {
		if len(word) > 1<<16 || len(a) > 1<<16 || len(b) > 1<<16 {
			return
		}
		env := newVars([]string{"A=" + a, "B=" + b})
		for _, raw := range []bool{false, true} {
			lex := newLexer('\\')
			lex.SkipProcessQuotes = raw
			result, _, err := lex.ProcessWord(word, env)
			if most := limits.MaxExpansion + limits.MaxPatternWork + len(word); err == nil && len(result) > 2*most {
				t.Errorf("%d bytes become %d", len(word), len(result))
			}
			_, _ = lex.ProcessWords(word, env)
		}
	})
}
