"""Which questions are answered by rule: other languages, and photos that are not there."""

import pytest

from lav2.events import Turn
from lav2.text import language
from lav2.text.language import LANGUAGE, NO_PHOTO, SENTENCES


@pytest.mark.parametrize(
    "question",
    [
        "¿Qué dice el cartel?",
        "Cuantas personas hay?",
        "Donde esta el perro?",
        "que hora es",
        "Hola",
        "Que dit le panneau ?",
        "Combien de personnes y a-t-il ?",
        "Où est le chien ?",
        "Quel est le prix ?",
        "Qui est sur la photo ?",
        "Was steht auf dem Schild?",
        "Wie viele Personen sind zu sehen?",
        "Wo ist der Hund?",
        "Was ist das?",
        "Wieviel kostet das?",
        "Cosa dice il cartello?",
        "Quanto costa?",
        "Quante persone ci sono?",
        "Dove si trova il cane?",
        "Che ora è?",
        "O que está escrito na placa?",
        "Quantas pessoas há na imagem?",
        "Onde está o cachorro?",
        "Quanto custa?",
        "Сколько здесь людей?",
        "这个牌子上写着什么？",
        "看板には何と書いてありますか？",
        "ماذا تقول اللافتة؟",
        "이 사람은 왜 웃고 있어?",
        "STOP 표지판은 누가 만들었어?",
        "Πόσα άτομα υπάρχουν;",
    ],
)
def test_a_question_in_another_language_is_told_so_at_once(question):
    assert language.read(question, photo=True)[1] == LANGUAGE


@pytest.mark.parametrize(
    "question",
    [
        "Menu?",
        "Hay bales?",
        "Est. 1985?",
        "Cosa Nostra?",
        "Soup du jour?",
        "Crème brûlée?",
        "Price of the café au lait?",
        "How much is the Soupe à l'oignon?",
        "Is this Café de Flore?",
        "El Corte Inglés?",
        "Who is Juan de la Cruz?",
        "Rio de Janeiro?",
        "Dove soap?",
        "Was it red?",
        "Total?",
        "Casa del Sol, phone number?",
        "A dog?",
        "La La Land?",
        'What does "Wo ist der Hund" mean?',
        "What does 출구 mean?",
        "Translate hola",
        "Die Hard poster?",
        "Is beer in the text?",
        "Come on, how many?",
        "Does it say «Entrada»?",
        "Les Misérables?",
        "Coca-Cola?",
        "ok",
        "Hi!",
        "2 + 2",
        "👍",
        "Los Angeles?",
        "Costa Coffee?",
        "In the photo a man",
        "Le Monde?",
        "Hotel am See?",
        "Do as I say",
        "No, on the left",
    ],
)
def test_names_short_questions_and_quotations_stay_english(question):
    assert language.read(question, photo=True) == (question, "", "")


@pytest.mark.parametrize(
    "korean, english",
    [
        ("뭐라고 쓰여 있어?", "What does the text say?"),
        ("간판에 뭐라고 쓰여 있나요?", "What does the sign say?"),
        ("글자를 읽어 주세요.", "What does the text say?"),
        ("몇 명?", "How many people are there?"),
        ("사진에 사람이 몇 명 있나요?", "How many people are there?"),
        ("고양이가 몇 마리 있어?", "How many cats are there?"),
        ("개가 있어?", "Is there a dog?"),
        ("가격이 얼마야?", "What is the price?"),
        ("커피는 얼마예요?", "How much is the coffee?"),
        ("Red Apples 얼마야?", "How much is the Red Apples?"),
        ("이거 얼마예요?", "How much does it cost?"),
        ("합계가 얼마예요?", "What is the total?"),
        ("전화번호가 뭐예요?", "What is the phone number?"),
        ("그럼 차는요?", "And the tea?"),
        ("메뉴에 피자가 있어요?", "Is there pizza on the menu?"),
        ("어떤 동물이 보여요?", "Which animal is this?"),
        ("몇 시에 열어?", "What time does it open?"),
        ("토요일에 몇 시에 닫아요?", "When does the shop close on Saturday?"),
        ("무엇이 보여?", "What is in the photo?"),
        ("사진을 설명해 주세요", "Describe the photo."),
    ],
)
def test_korean_forms_that_leave_no_doubt_are_asked_in_english(korean, english):
    assert language.read(korean, photo=True) == (english, "", "")


@pytest.mark.parametrize(
    "question",
    [
        "빨간 옷을 입은 사람이 몇 명 있어?",
        "왼쪽에 고양이가 있어?",
        "빨간 간판에 뭐라고 쓰여 있어?",
        "안녕하세요",
        "사과 두 개는 얼마야?",
        "김치는 얼마야?",
    ],
)
def test_a_korean_question_with_more_in_it_is_not_cut_down_to_a_form(question):
    assert language.read(question, photo=True) == ("", LANGUAGE, SENTENCES[LANGUAGE, "ko"])


@pytest.mark.parametrize(
    "question",
    [
        "How many people are there?",
        "What does the sign say?",
        "what colour is it?",
        "Is there a dog?",
        "Are there any cars here?",
        "What is in the picture?",
        "Describe the photo.",
        "Who is in this image?",
        "What is the man wearing?",
        "Where is the cat?",
        "How many red circles are there?",
        "What colour is the woman's dress?",
        "What do you see?",
        "What is this?",
        "Which animal is this?",
        "How much does it cost?",
        "Read the label.",
        "What is written on the sign?",
        "When does the shop open on Saturday?",
        "Hi, how many dogs are there in the picture?",
        "What's the total?",
        "Is there any text on the wall?",
    ],
)
def test_a_question_about_a_photo_without_one_is_told_that_there_is_none(question):
    assert language.read(question, photo=False) == ("", NO_PHOTO, SENTENCES[NO_PHOTO, "en"])
    assert language.read(question, photo=True) == (question, "", "")


@pytest.mark.parametrize(
    "question",
    [
        "Hi",
        "Hello!",
        "What can you do?",
        "Who are you?",
        "How are you?",
        "What is the capital of France?",
        "How many planets are there?",
        "How many continents are there?",
        "How many days are there in a week?",
        "How many people live in Seoul?",
        "What colour is the sky?",
        "What does a stop sign say?",
        "Is there life on Mars?",
        "How do I take a good photo?",
        "Who took the first photo?",
        "What time is it?",
        "What day is it today?",
        "Is it safe to eat raw eggs?",
        "Tell me a story about a dog.",
        "Describe photosynthesis.",
        "Where is Paris?",
        "What is a picture frame?",
        "Where is the bus station?",
        "Thank you",
        "What does the law say about parking?",
        "Why is the sky blue?",
        "How many legs does a dog have?",
        "Is there a difference between cats and dogs?",
        "What is love?",
        "Can you read photos?",
        "w5",
        "Write a poem about the sea.",
        "How many people are there in the world?",
    ],
)
def test_plain_chat_without_a_photo_goes_to_the_model(question):
    assert language.read(question, photo=False) == (question, "", "")


def test_what_the_conversation_spoke_of_can_be_it():
    spoken = (Turn("Tell me about buses.", "A bus carries people."),)
    earlier = (Turn("What does the sign say?", SENTENCES[NO_PHOTO, "en"]),)
    assert language.read("What colour is it?", False, spoken)[1] == ""
    assert language.read("What colour is it?", False, earlier)[1] == NO_PHOTO
    assert language.read("How many people are there?", False, spoken)[1] == NO_PHOTO


def test_the_model_is_given_no_turns_that_a_rule_answered_and_korean_ones_in_english():
    history = (
        Turn("몇 명?", "There are two people."),
        Turn("왜?", SENTENCES[LANGUAGE, "ko"]),
        Turn("Why?", "I can't tell."),
    )
    assert language.spoken(history) == (Turn("How many people are there?", "There are two people."), history[2])


def test_korean_is_answered_in_korean():
    assert language.read("몇 명?", photo=False) == ("", NO_PHOTO, SENTENCES[NO_PHOTO, "ko"])
    assert language.read("Сколько?", photo=True)[2] == SENTENCES[LANGUAGE, "en"]
