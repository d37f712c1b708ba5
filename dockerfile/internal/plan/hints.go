package plan

import "regexp"

// advice says what to do about messages of BuildKit's packages that do not say it.
var advice = []struct {
	message *regexp.Regexp
	hint    string // with the groups of the message
}{
	{regexp.MustCompile(`^FROM requires either one or three arguments$`), "its form is FROM [--platform=PLATFORM] IMAGE [AS NAME]"},
	{regexp.MustCompile(`^(ENV|LABEL) must have two arguments$`), "its form is $1 NAME=VALUE"},
	{regexp.MustCompile(`^Syntax error - can't find = in`), `a value with spaces is quoted: NAME="VALUE"`},
	{regexp.MustCompile(`^SHELL requires the arguments to be in JSON form$`), `its form is SHELL ["PROGRAM", "ARGUMENT"], with double quotes`},
	{regexp.MustCompile(`missing unit in duration "?(\d+)"?$`), "a duration has a unit: ${1}s or ${1}m"},
	{regexp.MustCompile(`^unterminated heredoc$`), "a line that is the delimiter alone ends a here-document"},
	{regexp.MustCompile(`^missing a value on flag: (--\S+)$`), "its form is $1=VALUE"},
	{regexp.MustCompile(`^dockerfile line greater than max`), "a long line may be continued on the next by the escape character"},
	{regexp.MustCompile(`looking for matching (?:single|double)-quote$`), "quotes end in the instruction that they begin in; an escape character takes their meaning"},
}

// adviceOn is a hint for a message, or "".
func adviceOn(message string) string {
	for _, a := range advice {
		if at := a.message.FindStringSubmatchIndex(message); at != nil {
			return string(a.message.ExpandString(nil, a.hint, message, at))
		}
	}
	return ""
}
