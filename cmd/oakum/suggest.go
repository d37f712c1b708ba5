package main

import "strings"

// didYouMean names the known text nearest to text, or is "" when none is near.
func didYouMean(text string, known []string) string {
	best, distance := "", len(strings.TrimLeft(text, "-"))/3+1
	for _, k := range known {
		if d := editDistance(text, k); d < distance || d == distance && best == "" {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// editDistance is the Levenshtein distance: how many bytes must be inserted, removed
// or replaced to make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1) // from the prefix of a so far to each prefix of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
