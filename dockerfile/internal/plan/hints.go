package plan

import (
	"regexp"
	"sync"
)

// advice says what to do about messages of BuildKit's packages that do not say it.
var advice = []struct {
	message func() *regexp.Regexp
	hint    string // with the groups of the message
}{
	{lazy(`^FROM requires either one or three arguments$`), "its form is FROM [--platform=PLATFORM] IMAGE [AS NAME]"},
	{lazy(`^(ENV|LABEL) must have two arguments$`), "its form is $1 NAME=VALUE"},
	{lazy(`^Syntax error - can't find = in`), `a value with spaces is quoted: NAME="VALUE"`},
	{lazy(`^SHELL requires the arguments to be in JSON form$`), `its form is SHELL ["PROGRAM", "ARGUMENT"], with double quotes`},
	{lazy(`missing unit in duration "?(\d+)"?$`), "a duration has a unit: ${1}s or ${1}m"},
	{lazy(`^unterminated heredoc$`), "a line that is the delimiter alone ends a here-document"},
	{lazy(`^missing a value on flag: (--\S+)$`), "its form is $1=VALUE"},
	{lazy(`^dockerfile line greater than max`), "a long line may be continued on the next by the escape character"},
	{lazy(`looking for matching (?:single|double)-quote$`), "quotes end in the instruction that they begin in; an escape character takes their meaning"},
}

// adviceOn is a hint for a message, or "".
func adviceOn(message string) string {
	for _, a := range advice {
		if at := a.message().FindStringSubmatchIndex(message); at != nil {
			return string(a.message().ExpandString(nil, a.hint, message, at))
		}
	}
	return ""
}

// lazy compiles a pattern when it is first needed. Programs that link the package are started
// often, as the worker and for commands, and seldom need any.
func lazy(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}
