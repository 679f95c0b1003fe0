package binding

import "github.com/cloisterhq/cloister/enclave/sql"

// The codes are those of protected-queries.md, section 5: a parameter outside
// of its type or domain is PQ205.
const (
	codeEncoding   = "PQ101_ENCODING"
	codeTooLarge   = "PQ102_TOO_LARGE"
	codeExpression = "PQ205_EXPR_NOT_ALLOWED"
)

func refuseForm() error {
	return sql.Refuse("", codeEncoding, "the bound values aren't an Arrow stream as Flight SQL carries it", "bind them with a Flight SQL driver")
}

func refuseCompressed() error {
	return sql.Refuse("", codeEncoding, "the bound values are compressed", "bind them without compression")
}

func refuseEncoding() error {
	return sql.Refuse("", codeEncoding, "a bound value isn't UTF-8 text", "send UTF-8 without NUL")
}

func refuseLarge() error {
	return sql.Refuse("", codeTooLarge, "the bound values are longer than 64 KiB together, or more than 1024", "bind fewer or shorter values")
}

func refuseRows() error {
	return sql.Refuse("", codeExpression, "a query takes one row of bound values", "execute it once for each row")
}

func refuseType() error {
	return sql.Refuse("", codeExpression, "a value of this Arrow type can't be bound",
		"bind an integer, a decimal, a float, a text, a boolean, a date, a timestamp or NULL")
}

func refuseFloat() error {
	return sql.Refuse("", codeExpression, "a bound float stands for no decimal of at most 15 digits", "bind a decimal, or the number as text")
}

func refuseRange() error {
	return sql.Refuse("", codeExpression, "a bound day or instant is no whole day, or not of the years 1 to 9999", "bind another value")
}
