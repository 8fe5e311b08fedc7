#compdef PROGRAM
# Completion of PROGRAM for zsh; `aegis` says what there is.
FUNCTION() {
    local -a answer described
    local line value
    answer=("${(@f)$(aegis __complete PROGRAM "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    for line in "${(@)answer[2,-1]}"; do
        value=${${line%%$'\t'*}//:/\\:}
        if [[ $line == *$'\t'* ]]; then
            described+=("$value:${line#*$'\t'}")
        else
            described+=("$value")
        fi
    done
    if [[ ${#described} -eq 1 && $described[1] == *= ]]; then
        _describe -V PROGRAM described -S ''
    elif (( $#described )); then
        _describe -V PROGRAM described
    fi
    case $answer[1] in
    (files|directories)
        # The value of --option=value.
        [[ $PREFIX == --*=* ]] && compset -P '--[^=]#='
        if [[ $answer[1] == files ]]; then
            _files
        else
            _files -/
        fi
        ;;
    (command*)
        shift ${answer[1]#command } words
        (( CURRENT -= ${answer[1]#command } ))
        _normal
        ;;
    esac
}
if [[ $funcstack[1] == FUNCTION ]]; then
    FUNCTION "$@"
else
    compdef FUNCTION PROGRAM
fi
