# cmake -DIN=index.html -DOUT=page.cpp -P embed.cmake: a file as the constants kPage and kPageSize.
file(READ ${IN} text)
file(SIZE ${IN} size)
# Compilers bound the length of one literal: pieces of 8,000 bytes stand next to each other.
set(source "")
string(LENGTH "${text}" length)
set(at 0)
while(at LESS length)
  string(SUBSTRING "${text}" ${at} 8000 piece)
  string(APPEND source "R\"==page==(${piece})==page==\"\n")
  math(EXPR at "${at} + 8000")
endwhile()
file(WRITE ${OUT} "#include <cstddef>\nnamespace server {\nextern const char* const kPage;\nextern const size_t kPageSize;\nconst char* const kPage =\n${source};\nconst size_t kPageSize = ${size};\n}  // namespace server\n")
