package plan

import "testing"

func TestDeletions(t *testing.T) {
	env := newVars([]string{"v=a-b-c", "p=/x", "d=-"})
	for word, want := range map[string]string{
		`${v/-}`:               "ab-c",
		`${v//-}`:              "abc",
		`"${v//-}"/$p`:         "abc//x",
		`${v/b*}`:              "a-",
		`${v/-}/${v//-}`:       "ab-c/abc",
		`${v/-/+}${v/-}`:       "a+b-cab-c",
		`${v//${d}}`:           "abc",
		`${v//"-"}`:            "abc",
		`${none:-${v//-}}`:     "abc",
		`'${v/-}'${v/-}`:       "${v/-}ab-c",
		`"'${v/-}'"`:           "'ab-c'",
		`\${v/-}${v/-}`:        "${v/-}ab-c",
		`${v/#a/x}${v/%c/x}`:   "a-b-ca-b-c", // literal, as in BuildKit
		`${none/-}`:            "",
		`/usr/${v/-}/lib/${p}`: "/usr/ab-c/lib//x",
	} {
		if got, _, err := newLexer('\\').ProcessWord(word, env); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", word, got, err, want)
		}
	}
	for _, word := range []string{`${v/`, `${v/-`, `${v/-}${`, `${v^^}`, `${v/-}'`} {
		if got, _, err := newLexer('\\').ProcessWord(word, env); err == nil {
			t.Errorf("%s: %q", word, got)
		}
	}
	words, err := newLexer('\\').ProcessWords("${v/-} x", env)
	if err != nil || len(words) != 2 || words[0] != "ab-c" {
		t.Errorf("words %q, %v", words, err)
	}
}
